import numpy as np
import pandas as pd
import pytest

from softjet.attention.findings import findings

ROW = {
    "statistic": "above", "threshold": 0.8, "layer": -1, "head": -1, "label": -1,
    "value": 0.031, "low": 0.029, "high": 0.033, "null": 0.004, "null_low": 0.003, "null_high": 0.005,
    "untrained": 0.0, "untrained_low": 0.0, "untrained_high": 0.001, "n_jets": 1000, "n_queries": 2_500_000,
}  # fmt: skip


def sentences(**overall):
    """Findings of a table whose overall row above .8 is changed."""
    rows = [ROW | overall, ROW | {"statistic": "above_other", "value": 0.02, "untrained": 0.003}]
    rows += [ROW | {"layer": layer, "value": value} for layer, value in ((0, 0.01), (1, 0.05))]
    rows += [
        ROW | {"layer": 1, "head": 3, "value": 0.4},
        ROW | {"label": 0},
        ROW | {"label": 9, "value": 0.2},
    ]
    rows += [ROW | {"statistic": n, "threshold": np.nan} for n in ("effective_keys", "self", "mutual")]
    return findings(pd.DataFrame(rows))


def test_a_share_stands_beside_its_nulls():
    assert sentences()[0] == (
        "In the trained network 3.1 % [2.9, 3.3] of queries put more than 0.8 of their weight on one "
        "particle; random logits of the same number and spread 0.40 % [0.30, 0.50], the "
        "untrained network 0.00 % [0.00, 0.10]: more than spread alone explains (7.8 times as often). On "
        "another particle than themselves: 2.0 % [2.9, 3.3], random 0.40 % [0.30, 0.50], "
        "untrained 0.30 % [0.00, 0.10]."
    )


@pytest.mark.parametrize(
    ("overall", "words"),
    [
        ({}, "does not hold in this network: only 3.1 %"),
        ({"value": 0.9, "low": 0.88, "high": 0.92}, "holds for most queries here: 90.0 %"),
        ({"value": 0.5, "low": 0.48, "high": 0.52}, "cannot be told here: 50.0 %"),
        ({"low": np.nan, "high": np.nan}, "cannot be told here: 3.1 % of"),
    ],
)
def test_the_published_claim_is_judged_by_the_interval(overall, words):
    assert words in sentences(**overall)[1]


@pytest.mark.parametrize(
    ("overall", "words"),
    [
        ({"null": 0.030, "null_low": 0.028, "null_high": 0.032}, "no more than spread alone explains"),
        ({"null": 0.1, "null_low": 0.09, "null_high": 0.11}, "less than spread alone would give"),
        ({"low": np.nan, "null_low": np.nan}, "too few jets a class"),
    ],
)
def test_the_random_null_is_judged_by_the_intervals(overall, words):
    assert words in sentences(**overall)[0]


def test_extremes_name_layer_head_and_class():
    text = sentences()[2]
    assert "from 1.0 % [2.9, 3.3] in layer 0 to 5.0 % [2.9, 3.3] in layer 1" in text
    assert "40.0 % [2.9, 3.3] in the sharpest head (layer 1, head 3)" in text
    assert text.endswith("(QCD) to 20.0 % [2.9, 3.3] (Tbl).")
