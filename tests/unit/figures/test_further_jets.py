"""What the report says of jets that are simulated for the test split only."""

import pytest
from small_dataset import write_counts

from softjet.config.jets import Dataset
from softjet.figures.chapters.simulation import dataset_parts
from softjet.figures.report import Text
from softjet.jets.schema import CLASSES


@pytest.mark.parametrize(
    ("further", "said"),
    [
        ({}, ""),
        ({"QCD": 0}, ""),
        ({"QCD": 6000}, "Further jets of the test split, for the rejections: 6000 QCD."),
        ({"QCD": 100, "Hqql": 0, "Tbl": 40}, ": 100 QCD, 40 Tbl."),
    ],
)
def test_further_jets_are_told_by_class(tmp_path, further, said):
    write_counts(tmp_path, CLASSES)
    settings = Dataset(further_test=further).model_dump(mode="json")
    text = next(p.text for p in dataset_parts(tmp_path, "mine", settings) if isinstance(p, Text))
    assert said in text
    assert ("Further jets" in text) == bool(said)
