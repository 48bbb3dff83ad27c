"""What the figures of rank learning show."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from softjet.figures.lowrank import draw_budget, draw_ranks, draw_spectra, rank_grid
from softjet.figures.pareto import draw_pareto

RANKS = pd.DataFrame(
    [
        {"stack": s, "block": b, "type": t, "m": 8, "n": 4, "rank": r, "dense": r == 4, "parameters": p}
        for s, b, t, r, p in (
            ("blocks", 0, "expand", 1, 12),
            ("blocks", 0, "contract", 2, 24),
            ("blocks", 1, "expand", 4, 32),
            ("class_blocks", 0, "expand", 2, 24),
        )
    ]
).assign(scale=2.0, spectrum=[[8.0, 4.0, 1.0, 0.5]] * 4, learned_rank=2, threshold=1.2)
RANKS["kept"] = [[place < rank for place in range(4)] for rank in RANKS["rank"]]

EMBEDDING = RANKS.iloc[:1].assign(stack="embeddings", type="model.embed_tokens", m=100)

HISTORY = pd.DataFrame(
    {
        "step": [1, 2, 3],
        "phase": ["learning", "learning", "recovery"],
        "task": [1.0, 1.2, 0.9],
        "keep_linears": [1.0, 0.5, 0.45],
        "keep_blocks": [1.0, 0.6, 0.5],
        "keep_total": [1.0, 0.7, 0.6],
    }
)


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Figures stay open and are handed over instead of written."""
    figures = []
    for module in ("lowrank", "pareto"):
        monkeypatch.setattr(
            f"softjet.figures.{module}.save_figure", lambda figure, target: figures.append(figure)
        )
    yield figures
    plt.close("all")


def _legends(figure):
    panels = [panel.get_legend() for panel in figure.axes] + figure.legends
    return [text.get_text() for legend in panels if legend for text in legend.get_texts()]


def test_the_grid_has_a_cell_a_matrix_and_none_where_there_is_none():
    share, text = rank_grid(RANKS)
    assert list(share.index) == ["expand", "contract"]
    assert list(share.columns) == ["1", "2", "c1"]
    assert share.loc["expand"].tolist() == [12 / 32, 1.0, 24 / 32]
    assert text.loc["expand"].tolist() == ["1", "full", "2"]
    assert share.loc["contract"].isna().tolist() == [False, True, True]


def test_figures_are_written_as_png_and_pdf(tmp_path):
    draw_ranks(RANKS, tmp_path / "ranks.png")
    draw_spectra(RANKS, tmp_path / "spectra.png")
    draw_budget(HISTORY, tmp_path / "budget.png")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"{name}.{kind}" for name in ("budget", "ranks", "spectra") for kind in ("pdf", "png")]


def test_embeddings_have_a_column_and_a_row_of_their_own(drawn):
    ranks = pd.concat([RANKS, EMBEDDING])
    share, _ = rank_grid(ranks)
    assert list(share.columns) == ["1", "2", "c1", "emb"]
    draw_ranks(ranks, "ranks.png", "a model")
    labels = [label.get_text() for label in drawn[0].axes[0].get_yticklabels()]
    assert labels[-1] == "embed_tokens  100×4"
    assert drawn[0].get_suptitle().startswith("a model\n5 matrices")


def test_many_blocks_keep_to_the_width_of_a_page(drawn):
    draw_ranks(pd.concat(RANKS.iloc[:1].assign(block=block) for block in range(60)), "ranks.png")
    assert drawn[0].get_size_inches()[0] < 12


def test_thresholds_are_drawn_where_a_method_learns_them_alone(drawn):
    draw_spectra(RANKS, "spectra.png")
    draw_spectra(RANKS.assign(threshold=np.nan), "spectra.png")
    marks = [[line for p in f.axes for line in p.lines if line.get_marker() == "_" and line.get_xdata().size]
             for f in drawn]  # fmt: skip
    assert [len(found) for found in marks] == [4, 0]
    assert marks[0][0].get_xydata().tolist() == [[2 / 4, 1.2]]
    assert ["threshold" in _legends(figure) for figure in drawn] == [True, False]


def _solid(figure):
    lines = [line for panel in figure.axes for line in panel.lines if line.get_linestyle() == "-"]
    return [line.get_ydata() for line in lines if len(line.get_xdata()) == 4]


def test_what_was_kept_is_solid_though_it_be_not_the_largest(drawn):
    draw_spectra(RANKS.iloc[1:2], "spectra.png")
    draw_spectra(RANKS.iloc[1:2].assign(kept=[[True, False, True, False]]), "spectra.png")
    (largest,), (scattered,) = map(_solid, drawn)
    np.testing.assert_equal(largest, [4, 2, np.nan, np.nan])
    np.testing.assert_equal(scattered, [4, np.nan, 0.5, np.nan])
    last = [next(line for p in f.axes for line in p.lines if line.get_marker() == "o") for f in drawn]
    assert [float(np.ravel(line.get_ydata())[0]) for line in last] == [2, 0.5]


def test_axes_of_spectra_hold_for_whitened_methods_too(drawn):
    draw_spectra(RANKS, "spectra.png")
    assert drawn[0].get_supylabel() == "size / scale of the matrix"
    assert "singular" not in drawn[0].get_supxlabel()


def test_a_method_that_learns_no_ranks_has_no_line_where_they_are_fixed(drawn):
    draw_budget(HISTORY, "budget.png")
    draw_budget(HISTORY.assign(phase="recovery"), "budget.png")
    assert [figure.axes[1].get_xlabel() for figure in drawn] == ["step (the line: ranks are fixed)", "step"]
    assert [len(figure.axes[1].lines) for figure in drawn] == [4, 3]


def _compared(**other):
    row = {
        "metric": "accuracy", "better": "higher", "change_is": "difference", "method": "svd", "keep": 0.5,
        "against": "dense", "n": 872, "seeds": 3, "value": 0.8, "value_low": 0.78, "value_high": 0.82,
        "change": -0.1, "low": -0.11, "high": -0.08, "keep_blocks": 0.5,
    }  # fmt: skip
    return row | other


def test_quality_stands_against_size_beside_dense(drawn):
    dense = _compared(method="dense", keep_blocks=1.0, value=0.9, change=0, low=0, high=0, seeds=3)
    rows = [
        dense, _compared(), _compared(keep_blocks=0.3, seeds=1), _compared(against="soft-threshold", value=0),
        _compared(metric="f1", value=0),
    ]  # fmt: skip
    draw_pareto(pd.DataFrame(rows), "pareto.png", "accuracy", "keep_blocks", "a model")
    above, below = drawn[0].axes
    assert above.containers[0].lines[0].get_xydata().tolist() == [[0.3, 0.8], [0.5, 0.8]]
    assert below.containers[0].lines[0].get_ydata().tolist() == [-0.1, -0.1]
    (bars,) = below.containers[0].lines[2]
    assert bars.get_segments()[0][:, 1].tolist() == pytest.approx([-0.11, -0.08])
    assert above.get_title(loc="left") == "a model\nn = 872 examples, 1 to 3 seeds; bars and band: 95 %"
    assert _legends(drawn[0]) == ["dense, trained as long", "uniform SVD"]


def test_ticks_between_whole_percents_say_where_they_are(drawn):
    dense = _compared(method="dense", value=0.9, change=0, low=0, high=0)
    draw_pareto(pd.DataFrame([dense, _compared()]), "pareto.png", "accuracy", "keep_blocks")
    tick = drawn[0].axes[1].xaxis.get_major_formatter()
    assert [tick(share) for share in (0.4, 0.425, 0.575, 0.7)] == ["40 %", "42.5 %", "57.5 %", "70 %"]
