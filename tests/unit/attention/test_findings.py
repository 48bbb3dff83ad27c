import numpy as np
import pandas as pd
import pytest

from softjet.attention.findings import findings, parts_findings

ROW = {
    "statistic": "above", "threshold": 0.8, "layer": -1, "head": -1, "label": -1, "class": "all", "n_low": -1,
    "value": 0.031, "low": 0.029, "high": 0.033, "null": 0.004, "null_low": 0.003, "null_high": 0.005,
    "untrained": 0.0, "untrained_low": 0.0, "untrained_high": 0.001, "p_null": 0.001, "q_null": np.nan,
    "n_jets": 1000, "denominator": 2_500_000.0,
}  # fmt: skip
OTHERS = ("effective_keys", "extreme", "self", "mutual", "hub")


def sentences(**overall):
    """Findings of a table whose overall row above .8 is changed."""
    rows = [ROW | overall, ROW | {"statistic": "above_other", "value": 0.02, "untrained": 0.003}]
    rows += [ROW | {"layer": layer, "value": value} for layer, value in ((0, 0.01), (1, 0.05))]
    rows += [ROW | {"layer": 1, "head": 3, "value": 0.4}, ROW | {"n_low": 25, "value": 0.3}]
    rows += [ROW | {"n_low": 55, "value": 0.2}]
    rows += [ROW | {"label": 0, "class": "quark"}, ROW | {"label": 9, "class": "top", "value": 0.2}]
    rows += [
        ROW | {"layer": layer, "head": 0, "label": 0, "value": value, "q_null": q}
        for layer, (value, q) in enumerate([(0.5, 0.01), (0.001, 0.04), (0.5, 0.06), (0.5, np.nan)])
    ]
    rows += [ROW | {"statistic": n, "threshold": np.nan} for n in OTHERS]
    own = ROW | {"statistic": "self", "threshold": np.nan}
    rows += [own | {"label": 0, "n_jets": 900, "denominator": 2e6}, own | {"label": 9, "n_jets": 100}]
    return findings(pd.DataFrame(rows))


def test_a_share_stands_beside_its_nulls():
    assert sentences()["shares"][1] == (
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
    assert words in sentences(**overall)["shares"][-1]


@pytest.mark.parametrize(
    ("overall", "words"),
    [
        ({"null": 0.030, "p_null": 0.2}, ": not told from what spread alone gives."),
        # Paired, they are told apart though their intervals overlap.
        ({"null": 0.030, "null_low": 0.028, "null_high": 0.032}, "explains (1.03 times as often)"),
        ({"null": 0.032, "null_low": 0.030, "null_high": 0.034}, "less than spread alone would give"),
        ({"null": 0.1, "null_low": 0.09, "null_high": 0.11}, "less than spread alone would give"),
        ({"low": np.nan, "null_low": np.nan}, "too few jets a class"),
        ({"p_null": np.nan}, "too few jets a class"),
    ],
)
def test_the_random_null_is_judged_by_the_paired_test(overall, words):
    assert words in sentences(**overall)["shares"][1]


def test_extremes_name_layer_head_and_class():
    text, _ = sentences()["heads"]
    assert "from 1.0 % [2.9, 3.3] in layer 0 to 5.0 % [2.9, 3.3] in layer 1" in text
    assert "40.0 % [2.9, 3.3] in the sharpest head (layer 1, head 3)" in text
    assert text.endswith("(quark) to 20.0 % [2.9, 3.3] (top).")


def test_multiplicity_choices_and_counts_are_told():
    found = sentences()
    (measured, _, other, _), (_, compared) = found["shares"], found["heads"]
    (lengths,), (choices,) = found["multiplicity"], found["choices"]
    assert lengths == (
        "By the number of particles in the jet the share above 0.8 is 30.0 % [2.9, 3.3] with 25 to 39, "
        "20.0 % [2.9, 3.3] with 55 or more."
    )
    assert "0.0 effective keys on average (random logits 0.0, untrained 0.0)" in other
    assert "most chosen particle for 3.1 % [2.9, 3.3] (random 0.40 % [0.30, 0.50]" in choices
    assert measured.startswith("Measured on 1,000 test jets with 4,500,000 queries")
    assert "(4 a statistic)" in compared
    assert (
        "queries above the threshold more in 1 and less in 1, not told in 2; effective keys more in 0"
        in compared
    )


def parts(rank=16.5, **changed):
    names = ("same_key_qk", "same_key_bias", "largest_qk", "largest_bias", "winner_by_bias")
    names += ("variance_qk", "variance_bias", "variance_both")
    rows = [ROW | {"statistic": name, "threshold": np.nan} | changed.get(name, {}) for name in names]
    rows += [ROW | {"statistic": "ratio", "threshold": t} for t in (0.1, 10)]
    rows += [ROW | {"statistic": "rank", "threshold": 0.95, "value": rank, "n_jets": 86}]
    return parts_findings(pd.DataFrame(rows))


@pytest.mark.parametrize(
    ("bias", "words"),
    [
        ({"value": 0.7, "low": 0.6, "high": 0.8}, "U decides more often"),
        ({"value": 0.01, "low": 0.005, "high": 0.02}, "QK decides more often"),
        ({"value": 0.032}, "neither decides more often"),
        ({"value": 0.7, "low": np.nan, "high": np.nan}, "too few jets a class to tell which decides"),
    ],
)
def test_the_part_that_decides_is_judged_by_the_intervals(bias, words):
    assert words in parts(same_key_bias=bias)["parts"][0]


def test_ratios_and_ranks_are_told():
    _, _, variance, ratio, rank = parts()["parts"]
    assert variance.startswith(
        "Of the variance of a row's logits QK makes 3.1 % [2.9, 3.3] (untrained 0.00 %"
    )
    assert ratio.endswith("3.1 % [2.9, 3.3] above 0.1, 3.1 % [2.9, 3.3] above 10 (1,000 jets).")
    assert rank.endswith("16.5 for 95 % (untrained 0.0) (86 jets).")


def test_sentences_of_parts_say_of_how_many_jets():
    assert all(said.endswith("(1,000 jets).") for said in parts()["parts"][:-1])


def test_ranks_of_no_jet_are_not_said_to_be_of_no_jet_there_is():
    assert parts(rank=np.nan)["parts"][-1] == (
        "None of the jets looked at (one in 32) has 32 particles or more, of which the singular values of U "
        "would be told."
    )
