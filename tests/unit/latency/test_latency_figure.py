"""The figure of the time measurement."""

import numpy as np
import pandas as pd

from softjet.figures.latency import draw_latency
from softjet.latency import measure_pair, summarise


def test_the_figure_shows_measured_and_noisy_settings_alike(tmp_path):
    samples = pd.concat(
        [measure_pair(lambda: sum(range(500)), lambda: sum(range(300)), 8, 1, batch=b) for b in (1, 64)]
    )
    ratios = summarise(samples)
    ratios.loc[1, ["ratio", "low", "high"]] = np.nan
    draw_latency(samples, ratios, tmp_path / "latency.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latency.pdf", "latency.png"]
