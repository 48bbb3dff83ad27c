"""The figure of computed over file values."""

import numpy as np
import pandas as pd

from softjet.figures.substructure import NAMES, draw_agreement


def test_figure_is_drawn_of_the_observables_at_hand(tmp_path):
    random = np.random.default_rng(1)
    both = pd.DataFrame({"observable": np.repeat(["jet_tau1", "jet_sdmass"], 20)})
    both["ratio"] = random.lognormal(0, 0.3, len(both))
    draw_agreement(both, tmp_path / "agreement.png")
    assert {path.name for path in tmp_path.iterdir()} == {"agreement.png", "agreement.pdf"}
    assert len(NAMES) == 5
