"""Figures are told with the tables that they draw."""

from pathlib import Path

from softjet.provenance.job import tables_drawn


def test_figures_are_told_with_the_paths_of_their_tables():
    inputs = {"one": Path("a.parquet"), "other": "b.parquet"}
    told = tables_drawn(inputs, {"figure": ("one", "other"), "second": ("other",)})
    assert told == {"figure": ["a.parquet", "b.parquet"], "second": ["b.parquet"]}
