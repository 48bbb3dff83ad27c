"""What the figures of rank learning show."""

import pandas as pd

from softjet.figures.lowrank import draw_budget, draw_ranks, draw_spectra, rank_grid

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
).assign(scale=2.0, spectrum=[[8.0, 4.0, 1.0, 0.5]] * 4)


def test_the_grid_has_a_cell_a_matrix_and_none_where_there_is_none():
    share, text = rank_grid(RANKS)
    assert list(share.index) == ["expand", "contract"]
    assert list(share.columns) == ["1", "2", "c1"]
    assert share.loc["expand"].tolist() == [12 / 32, 1.0, 24 / 32]
    assert text.loc["expand"].tolist() == ["1", "full", "2"]
    assert share.loc["contract"].isna().tolist() == [False, True, True]


def test_figures_are_written_as_png_and_pdf(tmp_path):
    history = pd.DataFrame(
        {
            "step": [1, 2, 3],
            "phase": ["learning", "learning", "recovery"],
            "task": [1.0, 1.2, 0.9],
            "keep_linears": [1.0, 0.5, 0.45],
            "keep_blocks": [1.0, 0.6, 0.5],
            "keep_total": [1.0, 0.7, 0.6],
        }
    )
    draw_ranks(RANKS, tmp_path / "ranks.png")
    draw_spectra(RANKS, tmp_path / "spectra.png")
    draw_budget(history, tmp_path / "budget.png")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"{name}.{kind}" for name in ("budget", "ranks", "spectra") for kind in ("pdf", "png")]
