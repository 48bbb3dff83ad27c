"""Sentences, headline and chapter follow their tables."""

import numpy as np
import pandas as pd
import pytest

from softjet.config.lowrank import LEARNED
from softjet.figures.chapters.compression import compression_parts
from softjet.figures.chapters.found import find_most_important
from softjet.figures.chapters.headline import headline_parts
from softjet.figures.chapters.speed import speed_parts
from softjet.figures.compression_findings import compression_findings, removed_finding, side
from softjet.figures.headline import Family, headline_caption, headline_table
from softjet.figures.pareto import METHODS
from softjet.figures.report import Picture, Text


def _row(method="soft-threshold", against="dense", change=-0.02, half=0.01, **other):
    return {
        "metric": "accuracy", "better": "higher", "change_is": "difference", "method": method, "keep": 0.5,
        "against": against, "n": 872, "seeds": 3, "value": 0.87, "value_low": 0.85, "value_high": 0.89,
        "reference": 0.89, "change": change, "low": change - half, "high": change + half, "spread": 0.004,
        "note": "", "keep_linears": 0.45, "keep_blocks": 0.5, "keep_total": 0.7,
        "margin": 0.01, "alike": False,
    } | other  # fmt: skip


def _said(*rows, method="soft-threshold"):
    return " ".join(compression_findings(pd.DataFrame(rows), 0.5, method))


@pytest.mark.parametrize(
    ("change", "verdict"),
    [(-0.02, "is worse than the dense"), (0.001, "is not shown"), (0.02, "is better than the dense")],
)
def test_the_verdict_follows_the_interval(change, verdict):
    said = _said(_row(change=change))
    assert verdict in said
    assert f"{change:.3f} [{change - 0.01:.3f}, {change + 0.01:.3f}]" in said
    assert "n = 872, 3 seeds" in said


@pytest.mark.parametrize(
    ("change", "verdict"),
    [(-0.02, "beat uniform SVD"), (0.0, "told from uniform SVD"), (0.02, "lose to uniform SVD")],
)
def test_a_baseline_that_wins_is_said_to(change, verdict):
    assert verdict in _said(_row(), _row("svd", "soft-threshold", change))


@pytest.mark.parametrize("method", LEARNED)
def test_sentences_are_about_the_method_that_is_shown(method):
    rows = [
        _row(method), _row("svd"), _row("svd", method), _row(method, metric="f1"), _row("svd", "other")
    ]  # fmt: skip
    said, name = _said(*rows, method=method), f"{METHODS[method][0]}s"
    assert f"With a budget of 50 %, {name} reach a value of 0.870 in accuracy" in said
    assert f"{name} beat uniform SVD (-0.020 [-0.030, -0.010])." in said
    assert f"Of 1 other metrics measured, {name} are shown" in said


def test_lower_is_better_and_ratios_have_their_own_zero():
    perplexity = {"better": "lower", "change_is": "ratio"}
    assert side(_row(change=1.2, **perplexity)) == -1
    assert side(_row(change=0.8, **perplexity)) == 1
    assert side(_row(change=1.005, **perplexity)) == 0


def test_equivalence_is_said_where_it_is_shown_and_only_there():
    assert "The whole interval lies within 0.01 of dense." in _said(_row(change=0, half=0.005, alike=True))
    assert "That it lies within 0.01 of dense is not shown." in _said(_row(change=0, half=0.03))
    ratio = {"better": "lower", "change_is": "ratio", "margin": 0.1, "alike": True}
    assert "within 10 % of dense" in _said(_row(change=1.0, **ratio))


def test_one_seed_and_what_is_not_measured_are_said():
    said = _said(_row(seeds=1), _row(metric="rejection_50 Hbb", note="not measured"))
    assert "choice of examples alone" in said
    assert "Not measured on so few examples: rejection at 50 % of Hbb" in said


def test_other_metrics_are_counted_by_what_is_shown():
    ratio = {"change_is": "ratio", "margin": 0.1}
    said = _said(
        _row(),
        _row(metric="auc", change=-0.003, half=0.001, alike=True),
        _row(metric="rejection_50 Hgg", change=0.99, half=0.05, alike=True, **ratio),
        _row(metric="rejection_99.5 Tbl", change=1.5, half=0.9, **ratio),
    )
    assert "Of 3 other metrics measured, soft thresholds are shown to be worse than dense in 1 (AUC)" in said
    assert "better in none" in said
    assert "in 2 (AUC, rejection at 50 % of Hgg)" in said
    assert "within a margin (0.01, of ratios 10 %)" in said
    assert "Tbl" not in said


def test_a_margin_of_auc_is_told_as_a_share_of_what_it_lacks_to_one():
    auc = {"metric": "auc", "reference": 0.96, "margin": 0.02}
    said = _said(_row(), _row(**auc))
    assert "within a margin (0.02) in none. For AUC 0.02 is 50 % of what dense, at 0.960, lacks to 1." in said
    assert "AUC" not in _said(_row(), _row(metric="f1")).split("worse")[1]
    assert "lacks" not in _said(_row(), _row(**auc | {"reference": 1.0}))


def test_keep_ratios_are_not_mixed():
    assert _said(_row(keep=0.3)) == ""


REMOVED = pd.DataFrame(
    [{"metric": "accuracy", "method": "svd", "margin": 0.01, "removed": 0.3, "shown": 0.2}]
)


def test_what_can_go_is_said():
    said = removed_finding(REMOVED, "accuracy", "difference")
    # One-sided: what is better by more than the margin counts too.
    assert "with accuracy no more than 0.01 worse than dense" in said
    assert "uniform SVD 30 % (shown by the whole interval: 20 %)" in said
    ratio = removed_finding(REMOVED.assign(margin=0.1), "accuracy", "ratio")
    assert "with accuracy no more than 10 % worse than dense" in ratio
    unknown = removed_finding(REMOVED.assign(removed=np.nan, shown=np.nan), "accuracy", "difference")
    assert "uniform SVD not measured (shown by the whole interval: not measured)" in unknown


FACTS = {
    "family": "BERT", "method": "soft-threshold", "model": "MiniLM", "note": "trained here",
    "task": "SST-2", "metric": "accuracy", "keep": 0.5,
}  # fmt: skip


def _ratio(ratio, note=""):
    row = {"batch": 8, "length": 64, "threads": 2, "ratio": ratio, "low": ratio - 0.02, "high": ratio + 0.02}
    return pd.DataFrame([row | {"macs_a": 4e9, "macs_b": 2e9, "note": note}])


def _missed(row, ratios):
    return headline_table([Family(FACTS, pd.DataFrame([row]), ratios)]).iloc[0]


def test_the_headline_tells_what_was_not_reached():
    found = _missed(_row(), _ratio(1.1))
    assert found["not reached"] == (
        "half of the whole model (removed: 30 %); a loss of at most 0.01; the published 1.33 times as fast"
    )
    assert found["removed: matrices, blocks, total"] == "55 %, 50 %, 30 %"
    assert found["times as fast [95 %]"] == "1.10 [1.08, 1.12] (batch 8, length 64, threads: 2)"
    assert found["MACs a call [M]"] == "4,000 to 2,000"
    assert found["model"] == "MiniLM (trained here)"


@pytest.mark.parametrize(
    ("change", "margin", "words"),
    [
        ({"change": -0.03}, 0.02, "0.02"),
        ({"change": 1.2, "change_is": "ratio", "better": "lower"}, 0.15, "15 %"),
    ],
)
def test_the_headline_has_the_margin_of_its_table_and_says_it(change, margin, words):
    family = Family(FACTS, pd.DataFrame([_row(**change, margin=margin)]), _ratio(1.1))
    assert f"a loss of at most {words};" in headline_table([family])["not reached"].iloc[0]
    assert headline_caption([family]).endswith(f"Aimed at is a loss of at most {words} in accuracy.")
    narrow = family.comparison.assign(margin=0.5)
    assert "a loss of at most" not in headline_table([family._replace(comparison=narrow)])["not reached"][0]


def test_a_headline_that_reaches_all_misses_nothing():
    assert _missed(_row(change=-0.005, half=0.004, keep_total=0.5), _ratio(1.5))["not reached"] == "none"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"change": -0.009, "half": 0.02}, "a loss of at most 0.01 (reached as measured, not shown)"),
        ({"change": -0.005, "half": 0.004}, "none"),
        ({"change": 0.05, "half": 0.03}, "none"),
        (
            {"change": 1.05, "half": 0.1, "change_is": "ratio", "better": "lower", "margin": 0.1},
            "a loss of at most 10 % (reached as measured, not shown)",
        ),
        ({"change": -0.005, "half": np.nan}, "a loss of at most 0.01 (reached as measured, not shown)"),
    ],
)
def test_a_loss_that_is_not_shown_to_be_small_is_said_to_be_measured_alone(row, said):
    assert _missed(_row(**row, keep_total=0.5), _ratio(1.5))["not reached"] == said


@pytest.mark.parametrize(
    ("one", "many", "half", "said"),
    [
        (0.86, 1.5, 0.02, "the published 1.33 times as fast (shown with a batch of 64 alone)"),
        (
            0.86,
            1.34,
            0.1,
            "the published 1.33 times as fast (reached with a batch of 64 alone, as measured, not shown)",
        ),
        (1.34, 1.34, 0.1, "the published 1.33 times as fast (reached as measured, not shown)"),
        (1.5, 1.34, 0.1, "the published 1.33 times as fast (shown with a batch of 1 alone)"),
        (1.5, 1.4, 0.02, "none"),
        (0.86, 1.1, 0.02, "the published 1.33 times as fast"),
    ],
)
def test_a_speed_that_one_batch_size_reaches_is_said_of_it_alone(one, many, half, said):
    speeds = pd.concat([_ratio(one).assign(batch=1), _ratio(many).assign(batch=64)])
    speeds = speeds.assign(low=speeds.ratio - half, high=speeds.ratio + half)
    assert _missed(_row(change=0, half=0.005, keep_total=0.5), speeds)["not reached"] == said


def test_the_headline_names_methods_where_they_differ():
    others = FACTS | {"method": "whitened-soft-threshold"}
    rows = pd.DataFrame([_row(change=-0.2), _row("whitened-soft-threshold", change=-0.1)])
    families = [Family(facts, rows) for facts in (FACTS, others)]
    table = headline_table(families)
    assert table["ranks by"].tolist() == ["soft threshold", "whitened soft threshold"]
    assert [change.split()[0] for change in table["change [95 %]"]] == ["-0.200", "-0.100"]
    assert headline_caption(families).startswith("Soft thresholds or whitened soft thresholds, family by")
    assert "ranks by" not in headline_table(families[1:])
    assert headline_caption(families[1:]).startswith("Whitened soft thresholds, family by family")


def _results(folder, method):
    """Results of one compressed model, and the settings of the report."""
    (folder / "lowrank/bert").mkdir(parents=True)
    (folder / "latency/bert").mkdir(parents=True)
    rows = [_row(method), _row("energy-svd", change=-0.3)]
    pd.DataFrame(rows).to_parquet(folder / "lowrank/bert/comparison.parquet")
    _ratio(1.1).to_parquet(folder / f"latency/bert/{method}-0.5-1-ratios.parquet")
    own = {"base": "minilm", "note": "stand-in", "shown": f"{method}-0.5-1"}
    language = {"minilm": {"family": "bert", "task": "sst2"}}
    return {"part": {}, "language": language, "compress": {"bert": own}}


@pytest.mark.parametrize("method", [*LEARNED, "svd"])
def test_a_family_has_its_row_where_ranks_were_learned(tmp_path, method):
    (table,) = headline_parts(tmp_path, _results(tmp_path, method))
    rows = table.frame.to_dict("records")
    assert [row["family"] for row in rows] == ["bert"] * (method in LEARNED)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("soft-threshold", "With ranks learned by soft threshold, bert (stand-in) keeps 70.0 %"),
        ("whitened-soft-threshold", "With ranks learned by whitened soft threshold, bert (stand-in) keeps"),
        ("svd", "Cut by uniform SVD, bert (stand-in) keeps 70.0 %"),
        ("dense", "Trained as long and not cut, bert (stand-in) keeps 70.0 %"),
    ],
)
def test_what_a_model_keeps_is_said_with_how_it_was_cut(tmp_path, method, words):
    (said,) = find_most_important(tmp_path, _results(tmp_path, method), {})
    assert said.text.startswith(words)


NAN = float("nan")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"change": -0.02, "low": NAN, "high": NAN}, "accuracy changes by -0.020 (no interval) against"),
        ({"change": NAN, "low": NAN, "high": NAN, "value": NAN}, "accuracy cannot be measured against"),
    ],
)
def test_what_was_not_measured_is_said_at_the_head(tmp_path, row, words):
    settings = _results(tmp_path, "soft-threshold")
    path = tmp_path / "lowrank" / "bert" / "comparison.parquet"
    pd.read_parquet(path).assign(**row, note="not").to_parquet(path)
    (said,) = find_most_important(tmp_path, settings, {})
    assert words in said.text
    assert "nan" not in said.text


def test_a_quality_that_was_not_measured_is_not_reached():
    row = _missed(_row(change=NAN, low=NAN, high=NAN, value=NAN, reference=NAN, keep_total=0.5), _ratio(1.5))
    assert row["not reached"] == "a loss of at most 0.01"
    assert [row["dense"], row["compressed"]] == 2 * ["not measured"]
    assert row["change [95 %]"].startswith("not measured, n =")


def test_lengths_are_those_of_each_batch_size(tmp_path):
    settings = _results(tmp_path, "soft-threshold")
    path = next((tmp_path / "latency" / "bert").glob("*-ratios.parquet"))
    rows = pd.concat([pd.read_parquet(path).head(1)] * 2, ignore_index=True)
    rows.assign(batch=[1, 64], length=[40, 43], threads=2).to_parquet(path)
    (said,) = find_most_important(tmp_path, settings, {})
    assert "with a batch of 1 (length 40), " in said.text
    assert said.text.endswith("with a batch of 64 (length 43).")


def test_a_runtime_other_than_pytorch_is_named(tmp_path):
    settings = _results(tmp_path, "soft-threshold")
    path = next((tmp_path / "latency" / "bert").glob("*-ratios.parquet"))
    rows = pd.concat([_ratio(1.1), _ratio(1.5)], ignore_index=True)
    rows = rows.assign(runtime=["torch", "compiled blocks"], pairs=30, median_a=4e6, median_b=2e6)
    rows.to_parquet(path)
    (said,) = find_most_important(tmp_path, settings, {})
    assert "with a batch of 8 (length 64), 1.50" in said.text
    assert said.text.endswith("with a batch of 8 by compiled blocks (length 64).")
    row = _missed(_row(), rows)
    assert row["times as fast [95 %]"].startswith(
        "1.10 [1.08, 1.12] (batch 8, length 64, threads: 2); 1.50 ["
    )
    assert "(batch 8 by compiled blocks, length 64, threads: 2)" in row["times as fast [95 %]"]
    assert "published" not in row["not reached"]
    more = pd.concat([rows, rows.assign(batch=64, ratio=1.1, low=1.08)], ignore_index=True)
    assert "(shown with a batch of 8 by compiled blocks alone)" in _missed(_row(), more)["not reached"]
    for runtime in ("torch", "compiled blocks"):
        reached = more.assign(low=more["low"] + (more["runtime"] == runtime), ratio=more["ratio"] + 1)
        assert "published" not in _missed(_row(), reached)["not reached"]
    assert row["MACs a call [M]"] == "4,000 to 2,000"
    table = next(
        part for part in speed_parts(tmp_path, "bert", settings["compress"]["bert"]) if hasattr(part, "frame")
    )
    assert table.frame["a call"].tolist() == ["8", "8 by compiled blocks"]


def test_time_that_was_not_measured_is_not_reached():
    for ratios in (None, _ratio(float("nan"), "too noisy")):
        assert "a measurement of the time" in _missed(_row(), ratios)["not reached"]


def test_the_chapter_shows_every_method_but_not_dense_as_one(tmp_path):
    here = tmp_path / "lowrank" / "bert"
    (here / "soft-threshold-0.5-1").mkdir(parents=True)
    rows = [_row("dense", keep=1.0), _row(), _row("svd", "soft-threshold", -0.03)]
    pd.DataFrame(rows).to_parquet(here / "comparison.parquet")
    REMOVED.to_parquet(here / "removed.parquet")
    run = here / "soft-threshold-0.5-1"
    pd.DataFrame({"rank": [3, 5], "dense": [False, True]}).to_parquet(run / "ranks.parquet")
    history = {"phase": ["learning", "recovery"], "keep_linears": 0.45, "keep_blocks": 0.5, "keep_total": 0.7}
    pd.DataFrame(history).to_parquet(run / "history.parquet")
    settings = {
        "base": "minilm", "note": "stand-in", "shown": "soft-threshold-0.5-1", "learning": {"of": "blocks"},
    }  # fmt: skip
    heading, *parts = compression_parts(tmp_path, "bert", settings)
    assert heading.text == "bert, made from minilm (stand-in)"
    texts = " ".join(part.text for part in parts if isinstance(part, Text))
    assert "1 steps of learning, 1 steps of recovery" in texts
    assert "70.0 % of the whole model" in texts
    assert "beat uniform SVD" in texts
    table = next(part for part in parts if part.kind == "table").frame
    assert table["method"].tolist() == ["soft threshold", "uniform SVD"]
    pictures = [
        part.path.relative_to(tmp_path / "figures/bert") for part in parts if isinstance(part, Picture)
    ]
    assert [str(path) for path in pictures] == [
        "pareto.png", *(f"soft-threshold-0.5-1/{name}.png" for name in ("budget", "ranks", "spectra"))
    ]  # fmt: skip
