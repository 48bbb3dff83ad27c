"""The figure of the time measurement."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from softjet.figures import latency
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


def test_runtimes_have_panels_and_places_of_their_own(monkeypatch):
    kept = []
    monkeypatch.setattr(latency, "save_figure", lambda figure, target: kept.append(figure))
    settings = [(batch, runtime) for batch in (1, 64) for runtime in ("torch", "compiled blocks")]
    parts = [measure_pair(lambda: None, lambda: None, 20, 1, batch=b, runtime=r) for b, r in settings]
    for place, part in enumerate(parts, start=1):
        part["nanoseconds"] = place * 1_000_000
    samples = pd.concat(parts)
    draw_latency(samples, summarise(samples), "latency.png")
    panels = kept[0].axes
    for place, (panel, (_, runtime)) in enumerate(zip(panels[:4], settings, strict=True), start=1):
        assert f"{runtime} on cpu" in panel.get_legend().get_title().get_text()
        assert panel.get_legend().get_texts()[0].get_text() == f"dense: median {place}.0 ms"
    ticks = [label.get_text() for label in panels[4].get_xticklabels()]
    assert ticks == ["1\ntorch", "1\ncompiled\nblocks", "64\ntorch", "64\ncompiled\nblocks"]
    plt.close(kept[0])


def _calls(panel):
    """Where a panel's calls lie on the figure, without the lines of medians."""
    lines = [line.get_xydata() for line in panel.lines if line.get_linestyle() == "None"]
    return panel.transData.transform(np.concatenate(lines))


@pytest.mark.parametrize(("slow", "said"), [(0, []), (1, ["1 call of"]), (3, ["3 calls of"])])
def test_calls_above_the_axis_are_told(monkeypatch, slow, said):
    kept = []
    monkeypatch.setattr(latency, "save_figure", lambda figure, target: kept.append(figure))
    samples = measure_pair(lambda: None, lambda: None, 40, 1)
    samples["nanoseconds"] = np.where(samples.index < slow, 7e6, 1e6)
    draw_latency(samples, summarise(samples), "latency.png")
    assert [text.get_text() for text in kept[0].axes[0].texts] == [f"{s} up to 7 ms above" for s in said]
    plt.close(kept[0])


def test_no_legend_lies_over_a_call(monkeypatch):
    kept = []
    monkeypatch.setattr(latency, "save_figure", lambda figure, target: kept.append(figure))
    samples = pd.concat([measure_pair(lambda: None, lambda: None, 40, 1, batch=b) for b in (1, 64)])
    samples["nanoseconds"] = np.where(samples["order"] % 20, 1e6, 1.5e6)
    draw_latency(samples, summarise(samples), "latency.png")
    figure = kept[0]
    figure.draw_without_rendering()
    for panel in figure.axes[:2]:
        legend, calls = panel.get_legend().get_window_extent(), _calls(panel)
        assert len(calls) == 80
        assert not any(legend.contains(*call) for call in calls)
        assert all(figure.bbox.contains(*corner) for corner in legend.corners())
    plt.close(figure)
