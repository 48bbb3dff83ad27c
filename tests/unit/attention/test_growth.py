from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from softjet.attention import tables
from softjet.attention.chance import tabulate
from softjet.attention.growth import growth_table
from softjet.config.attention import Attention
from softjet.figures.chapters.attention import growth_parts
from softjet.figures.chapters.found import _growth_finding
from softjet.figures.growth import draw_growth, growth_sentence
from softjet.part.model import ParticleTransformer


@pytest.fixture
def growth(model, jet_table, tmp_path, monkeypatch):
    """A network that was not trained at all after 8 steps, and is `model` after 20."""
    monkeypatch.setattr(tables, "tabulate", partial(tabulate, rows=50))
    pq.write_table(jet_table, tmp_path / "jets.parquet")
    torch.manual_seed(1)
    fresh = ParticleTransformer(model.config).eval()
    settings = Attention(batch_size=15, bootstrap=100, growth_jets=20)
    return growth_table({8: fresh, 20: model}, fresh, [tmp_path / "jets.parquet"], settings)[0]


def test_each_checkpoint_stands_beside_the_start_on_the_same_jets(growth):
    assert sorted(set(growth["step"])) == [0, 8, 20]
    assert growth["n_jets"].nunique() == 1
    assert 0 < growth["n_jets"].iloc[0] <= 20
    assert set(growth["layer"]) == {-1, 0, 1, 2}
    start, unchanged, last = (growth[growth["step"] == step].reset_index(drop=True) for step in (0, 8, 20))
    pd.testing.assert_series_equal(start["value"], unchanged["value"])
    pd.testing.assert_series_equal(start["value"], last["untrained"], check_names=False)
    assert not start["value"].equals(last["value"])


def test_a_fine_tuning_begins_with_the_network_it_started_from(model, growth, tmp_path):
    torch.manual_seed(1)
    fresh = ParticleTransformer(model.config).eval()
    settings = Attention(batch_size=15, bootstrap=100, growth_jets=20)
    table, _ = growth_table({20: fresh}, fresh, [tmp_path / "jets.parquet"], settings, start=model)
    begun = table[table["step"] == 0].reset_index(drop=True)
    pd.testing.assert_frame_equal(begun, growth[growth["step"] == 20].assign(step=0).reset_index(drop=True))


def test_the_figure_is_drawn(growth, tmp_path):
    draw_growth(growth, tmp_path / "growth.png", 32)
    assert plt.imread(tmp_path / "growth.png")[..., :3].std() > 0.03
    assert (tmp_path / "growth.pdf").exists()


def test_a_figure_of_many_thresholds_is_drawn(growth, tmp_path):
    many = [growth.assign(threshold=threshold) for threshold in np.linspace(0.1, 0.9, 9)]
    draw_growth(pd.concat(many), tmp_path / "growth.png", 32)
    assert (tmp_path / "growth.pdf").exists()


@pytest.mark.parametrize(("last", "verdict"), [(0.09, "grows"), (0.001, "falls"), (0.021, "does not change")])
def test_the_sentence_follows_the_intervals(last, verdict):
    values = {0: 0.02, 100: 0.03, 500: last}
    rows = [
        {"layer": -1, "statistic": "above_other", "threshold": threshold, "step": step, "value": value,
         "low": value - 0.005, "high": value + 0.005, "n_jets": 40}
        for step, value in values.items() for threshold in (0.5, 0.8)
    ]  # fmt: skip
    said = growth_sentence(pd.DataFrame(rows), batch_size=64)
    assert f"0.8 of their weight on another particle {verdict}" in said
    assert f"{100 * last:.2f} %" in said
    assert "32,000 jets" in said


def growth_of(values, **more):
    """Rows of a share by step, with intervals of a tenth around it."""
    rows = [
        {"layer": -1, "statistic": "above_other", "threshold": 0.8, "step": step, "value": value,
         "low": 0.9 * value, "high": 1.1 * value, "n_jets": 40}
        for step, value in values.items()
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(**more)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        (
            {0: 0.01, 50: 0.05, 500: 0.02},
            "ends higher than it began, after a peak of 5.00 % [4.50, 5.50] after",
        ),
        ({0: 0.02, 50: 0.05, 500: 0.01}, "ends lower than it began, after a peak of 5.00 %"),
        ({0: 0.02, 50: 0.05, 500: 0.021}, "ends near where it began, after a peak of 5.00 %"),
        ({0: 0.01, 50: 0.05, 500: 0.048}, "grows with training: 1.00 %"),
        ({0: 0.05, 50: 0.051, 500: 0.01}, "falls with training: 5.00 %"),
    ],
)
def test_a_peak_on_the_way_is_told(values, verdict):
    said = growth_sentence(growth_of(values), batch_size=64)
    assert f"on another particle {verdict}" in said
    assert ("after a peak" in said) == ("[4.50, 5.50] after 3,200 jets: " in said)
    assert "themselves" not in said


def test_the_share_with_the_query_itself_is_told_beside():
    other = growth_of({0: 0.0001, 500: 0.03})
    itself = growth_of({0: 0.0054, 50: 0.0733, 500: 0.0374}, statistic="above")
    said = growth_sentence(pd.concat([itself, other]), batch_size=64)
    assert "on another particle grows with training: 0.01 %" in said
    assert said.endswith(
        " On any particle, themselves included, it ends higher than it began, after a peak of 7.33 % "
        "[6.60, 8.06] after 3,200 jets: first 0.54 % [0.49, 0.59], last 3.74 % [3.37, 4.11]."
    )


def test_small_shares_that_differ_do_not_read_alike():
    said = growth_sentence(growth_of({0: 1e-6, 100: 0.0, 500: 3e-5}), batch_size=64)
    assert (
        "grows with training: 0.00010 % [0.00009, 0.00011] after 0 jets, 0.00 % [0.00, 0.00] after "
        "6,400 jets, 0.0030 % [0.0027, 0.0033] after 32,000 jets" in said
    )


def test_a_fine_tuning_is_told_from_the_network_it_started_from(growth, tmp_path):
    table = tmp_path / "statistics" / "run" / "jets" / "growth.parquet"
    table.parent.mkdir(parents=True)
    growth.to_parquet(table)
    own = {"dataset": "jets", "training": {"batch_size": 4}, "start_from": "reference"}
    (finding,) = _growth_finding(tmp_path, "run", own)
    text, picture = growth_parts(tmp_path, "run", own)
    for said in (finding.text, text.text):
        assert "] in reference, the network it started from, " in said
        assert "after 0 jets" not in said
    assert "from reference, the network it started from, to the last step" in picture.caption
    _, picture = growth_parts(tmp_path, "run", own | {"start_from": ""})
    assert "from the untrained network to the last step" in picture.caption


@pytest.mark.parametrize("start_from", ["", "reference"])
def test_the_figure_names_the_start_of_a_fine_tuning(growth, tmp_path, monkeypatch, start_from):
    drawn = []
    monkeypatch.setattr("softjet.figures.growth.save_figure", lambda figure, target: drawn.append(figure))
    draw_growth(growth, tmp_path / "growth.png", 32, start_from)
    assert ("at 0 the network it started from" in drawn[0].get_suptitle()) == bool(start_from)
    plt.close("all")


def test_without_intervals_nothing_is_said_of_a_change():
    row = {"layer": -1, "statistic": "above_other", "threshold": 0.8, "n_jets": 40}
    rows = [
        row | {"step": step, "value": value, "low": np.nan, "high": np.nan}
        for step, value in {0: 0.02, 500: 0.4}.items()
    ]
    said = growth_sentence(pd.DataFrame(rows), batch_size=64)
    assert "too few jets a class to tell whether it changes with training: 2.00 % after 0 jets" in said
    assert "nan" not in said


def test_imported_weights_have_no_growth_to_tell_of(growth, tmp_path):
    """Even where a training of the same name has left some."""
    table = tmp_path / "statistics" / "run" / "jets" / "growth.parquet"
    table.parent.mkdir(parents=True)
    growth.to_parquet(table)
    own = {"dataset": "jets", "training": {"batch_size": 4}}
    (said,) = _growth_finding(tmp_path, "run", own | {"weights": None})
    assert said.text == growth_sentence(growth, 4)
    assert not list(_growth_finding(tmp_path, "run", own | {"weights": {"name": "other"}}))
