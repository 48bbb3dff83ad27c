"""No text of a figure runs out of it, however few classes, layers, heads and methods there are."""

import inspect
import pkgutil
from functools import partial
from importlib import import_module
from itertools import product

import awkward as ak
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import softjet.figures
from softjet.figures import (
    attention,
    focus,
    growth,
    interventions,
    jets,
    joined,
    latency,
    lowrank,
    observables,
    pareto,
    planes,
    scaling,
    simulation,
    substructure,
    training,
)
from softjet.part.evaluate import confusion_table, roc_table

CLASSES = ("gluon", "quark")
JETS = 2_000_000
TITLE = "reference, top_landscape: whitened-soft-threshold-0.5-1"
ALL = -1


def spread(name="", value=0.3):
    """A number with its interval, as tables have them: "value" has no prefix."""
    prefix = f"{name}_" if name else ""
    return {name or "value": value, f"{prefix}low": 0.9 * value, f"{prefix}high": 1.1 * value}


def statistics(names, thresholds=(np.nan,), bins=(ALL,)):
    """Rows of two classes and of all, of one layer with one head and of all."""
    places = product(names, thresholds, bins, (ALL, 0), (ALL, 0), (ALL, 0, 1))
    known = spread() | spread("null", 0.2) | spread("untrained", 0.1)
    known |= {"n_jets": JETS, "denominator": 9e7, "p_null": 0.001, "q_null": 0.001}
    return pd.DataFrame(
        {
            "statistic": name,
            "threshold": threshold,
            "n_low": low,
            "layer": layer,
            "head": head,
            "label": label,
        }
        | {"class": (*CLASSES, "all")[label]}
        | known
        for name, threshold, low, layer, head, label in places
    )


BINARY = statistics(["above", "above_other"], [0.8], [ALL, 1, 55])
BINARY = BINARY[(BINARY.n_low == ALL) | ((BINARY["head"] == ALL) & (BINARY.label == ALL))]
CHOICES = pd.concat([BINARY, statistics(["self", "mutual", "hub"])])
PARTS = statistics(
    [f"{what}_{part}" for what in ("same_key", "largest", "variance") for part in ("qk", "bias")]
)
WEIGHTS = statistics(["weight"], [0.0, 0.5])
FOCUS = statistics(["to_hardest", "to_hardest_pt", "mass_subjet"])
PARTNERS = statistics(["nearest"])
LOGITS = np.zeros((20, 20))
MAPS = pd.DataFrame(
    {
        "jet": jet, "label": jet, "layer": 0, "head": 0, "n": 20, "weights": [np.full(400, 0.05)],
        "qk": [LOGITS.ravel()], "bias": [LOGITS.ravel()],
    }
    for jet in (0, 1)
)  # fmt: skip
MAPS = MAPS.assign(**{name: MAPS[name].str[0] for name in ("weights", "qk", "bias")})
PARTICLES = pd.DataFrame(
    {
        "jet": np.repeat([0, 1], 20), "particle": [*range(20)] * 2, "pt": np.tile(np.linspace(90, 1, 20), 2),
        "deta": np.tile(np.linspace(-0.5, 0.5, 20), 2), "dphi": 0.1, "identity": -1, "subjet": [0, 1] * 20,
    }
)  # fmt: skip
PLANES = pd.DataFrame(
    {"label": label, "class": name, "layer": 0, "y": y, "x": x, "n_jets": JETS // 2}
    | {"observed": 0.1 + x**2, "untrained": 0.2, "even": 0.3, "ratio": 3 * x**2 + 0.3}
    for (label, name), y, x in product(
        enumerate(CLASSES), np.linspace(-0.7, 0.7, 8), np.linspace(-0.7, 0.7, 8)
    )
)
INTERVENTIONS = pd.DataFrame(
    {"network": network, "intervention": name, "layer": layer, "head": head, "label": ALL, "metric": metric}
    | spread("change", -0.5) | spread("control", -0.1) | spread("difference", -0.4)
    | {"q": 0.001, "n_jets": JETS}
    for network, name, metric, layer, head in product(
        ("trained", "untrained"), (*interventions.NAMES, "head"), interventions.METRICS, (ALL, 0), (ALL, 0)
    )
    if (name == "head") == (head == 0)
)  # fmt: skip
TOPK = pd.DataFrame(
    {"weights": "as trained", "k": 4, "metric": metric, "class": "all", "n": JETS}
    | {"change": 0.1, "low": 0.05, "high": 0.15}
    for metric in ("accuracy", "time")
)
PROBES = pd.DataFrame(
    {"network": network, "state": state, "layer": layer, "observable": name, "scope": "all jets"}
    | {"r2": 0.5, "low": 0.4, "high": 0.6, "n": JETS, "n_train": JETS}
    for name, network, (state, layer) in product(
        observables.NAMES, ("trained", "untrained"), (("embedding", -1), ("layer", 0), ("class token", -1))
    )
)
CORRELATIONS = pd.DataFrame(
    {"summary": summary, "layer": 0, "observable": name, "scope": "within classes", "n": JETS}
    | {"rho": -0.25, "untrained": 0.1, "rho_q": 0.001, "untrained_q": 0.001, "difference_q": 0.001}
    for summary, name in product(observables.SUMMARIES, observables.NAMES)
)
GROWTH = pd.DataFrame(
    {"statistic": name, "threshold": 0.8, "layer": ALL, "step": step, "null": 0.1, "n_jets": JETS} | spread()
    for name, step in product(("above", "above_other"), (0, 1000))
)
RANK = {
    "stack": "blocks", "block": 0, "type": "out_proj", "m": 1024, "n": 1024, "rank": 2, "dense": False,
    "parameters": 4096, "scale": 2.0, "spectrum": [4.0, 2.0, 1.0], "kept": [True, True, False],
    "learned_rank": 2, "threshold": 1.2,
}  # fmt: skip
RANKS = pd.DataFrame([RANK])
HISTORY = pd.DataFrame(
    {
        "step": [1, 2], "phase": ["learning", "recovery"], "task": 1.0, "keep_linears": 0.5,
        "keep_blocks": 0.5, "keep_total": 0.5,
    }
)  # fmt: skip
COMPARISON = pd.DataFrame(
    {
        "metric": "accuracy", "better": "higher", "change_is": "difference", "method": method, "keep": keep,
        "against": "dense", "n": JETS, "seeds": 1, "reference": 0.9, "keep_blocks": keep,
    }
    | spread() | {"value_low": 0.2, "value_high": 0.4, "change": -0.1, "low": -0.11, "high": -0.08}
    for method, keep in (("dense", 1.0), ("soft-threshold", 0.5))
)  # fmt: skip
COMPRESSED = pd.DataFrame(
    {
        "quantity": quantity, "detail": detail, "layer": layer, "head": head, "value": 0.5, "dense": 1.0,
        "loss": 0.5, "loss_low": 0.4, "loss_high": 0.6, "q": 0.001, "n": JETS, "keep": 0.5, "seed": ALL,
        "method": "soft-threshold",
    }
    for quantity, detail, layer, head in (
        ("above", "0.8", ALL, ALL), ("above", "0.8", 0, ALL), ("agreement", "", ALL, ALL),
        *(("probe_token_within", name, ALL, ALL) for name in joined.OBSERVABLES),
        *(("head_effective_rank", name, 0, 0) for name in joined.MATRICES),
    )
)  # fmt: skip
CALLS = [(batch, runtime) for batch in (1, 64) for runtime in ("torch", "compiled blocks")]
SAMPLES = pd.DataFrame(
    {"batch": batch, "runtime": runtime, "variant": variant, "order": order, "nanoseconds": 2e6}
    for batch, runtime in CALLS
    for order, variant in enumerate(["dense", "compressed"] * 9)
)
RATIOS = pd.DataFrame(
    {"batch": batch, "ratio": 1.2, "low": 1.1, "high": 1.3, "threads": 16, "runtime": runtime}
    | {"device": "cpu", "length": 128, "pairs": 1000}
    for batch, runtime in CALLS
)
SCALING = pd.DataFrame(
    {"work": "network", "counted": "particles", "call": "64 jets", "quantity": quantity, "size": size}
    | {"median": size, "low": 0.9 * size, "high": 1.1 * size, "n": 20}
    | {"exponent": 1.2, "exponent_low": 1.1, "exponent_high": 1.3}
    for quantity, size in product(scaling.QUANTITIES, (10, 100))
)
LABELS = np.arange(40) % 2
PROBABILITIES = np.random.default_rng(0).normal(size=(40, 2))
COLUMNS = ("jet_sdmass", "jet_nparticles", "jet_tau1", "jet_tau2", "jet_tau3")
TRAINING = pd.DataFrame(
    {"step": [1, 2], "loss": 1.0, "validation_loss": [np.nan, 1.0], "validation_accuracy": [np.nan, 0.5]}
)
SIMULATED = ak.Array(
    {f"part_{name}": ak.unflatten(np.linspace(1, 9, 1200), 20) for name in ("px", "py", "pz", "energy")}
    | {"label": np.repeat([0, 1, 7, 8], 15)}
)

FIGURES = {
    "shares": partial(attention.draw_shares, BINARY),
    "heads": partial(attention.draw_heads, BINARY, threshold=0.8),
    "choices": partial(attention.draw_choices, CHOICES),
    "multiplicity": partial(attention.draw_multiplicity, BINARY),
    "parts": partial(attention.draw_parts, PARTS),
    "weights": partial(attention.draw_weights, WEIGHTS),
    "maps": partial(attention.draw_maps, MAPS, 0, classes=CLASSES),
    "pairs": partial(attention.draw_pairs, MAPS, PARTICLES, [0, 1], classes=CLASSES),
    "pairs of one jet": partial(attention.draw_pairs, MAPS, PARTICLES, [0], classes=CLASSES),
    "focus": partial(focus.draw_focus, FOCUS),
    "subjets": partial(focus.draw_subjets, FOCUS),
    "no subjets": partial(focus.draw_subjets, PARTNERS),
    "focus by layer": partial(focus.draw_focus_by_layer, FOCUS),
    "partners": partial(focus.draw_partners, PARTNERS),
    "attribution": partial(focus.draw_attribution, statistics(focus.CONTRIBUTIONS)),
    "distance": partial(planes.draw_distance, statistics(["distance"], [0.0, 0.1, 0.2])),
    "planes": partial(planes.draw_planes, PLANES),
    "planes of one class": partial(planes.draw_planes, PLANES[PLANES.label == 0]),
    "planes by layer": partial(planes.draw_planes_by_layer, PLANES),
    "planes of one class by layer": partial(planes.draw_planes_by_layer, PLANES[PLANES.label == 0]),
    "interventions": partial(interventions.draw_interventions, INTERVENTIONS),
    "silenced": partial(interventions.draw_silenced, INTERVENTIONS),
    "topk": partial(interventions.draw_topk, TOPK),
    "probes": partial(observables.draw_probes, PROBES),
    "correlations": partial(observables.draw_correlations, CORRELATIONS),
    "growth": partial(growth.draw_growth, GROWTH, batch_size=128),
    "jets": partial(
        jets.draw_jets,
        pd.DataFrame(np.ones((40, 5)), columns=COLUMNS).assign(label=LABELS),
        classes=CLASSES,
    ),
    "joined": partial(joined.draw_joined, COMPRESSED, COMPARISON),
    "latency": partial(latency.draw_latency, SAMPLES, RATIOS),
    "ranks": partial(lowrank.draw_ranks, RANKS, title=TITLE),
    "spectra": partial(lowrank.draw_spectra, RANKS, title=TITLE),
    "budget": partial(lowrank.draw_budget, HISTORY, title=TITLE),
    "pareto": partial(pareto.draw_pareto, COMPARISON, metric="accuracy", size="keep_blocks", title=TITLE),
    "scaling": partial(scaling.draw_scaling, SCALING),
    "comparison": partial(simulation.draw_comparison, SIMULATED, SIMULATED),
    "agreement": partial(
        substructure.draw_agreement,
        pd.DataFrame({"observable": "jet_sdmass", "ratio": np.linspace(0.8, 1.2, 20)}),
    ),
    "history": partial(training.draw_history, TRAINING, batch_size=512, n_validation=JETS),
    "confusion": partial(training.draw_confusion, confusion_table(PROBABILITIES, LABELS, CLASSES)),
    "roc": partial(training.draw_roc, roc_table(PROBABILITIES, LABELS, ("QCD", "Top"))),
    "no roc": partial(training.draw_roc, roc_table(PROBABILITIES, LABELS, CLASSES)),
}
"""Every figure of small inputs, but for its target."""


def modules():
    """Modules of figures, without chapters of the report."""
    found = pkgutil.iter_modules(softjet.figures.__path__, "softjet.figures.")
    return [import_module(one.name) for one in found if not one.ispkg]


@pytest.fixture
def drawn(monkeypatch):
    """Figures stay open and are handed over instead of written."""
    figures = []
    for module in modules():
        if hasattr(module, "save_figure"):
            monkeypatch.setattr(module, "save_figure", lambda figure, target: figures.append(figure))
    yield figures
    plt.close("all")


def written(figure):
    """What of a figure holds text: its own titles and legends, and those of its panels with their axes."""
    yield from (*figure.texts, *figure.legends)
    for panel in figure.axes:
        yield from panel.texts
        yield from (panel.title, panel._left_title, panel._right_title)
        yield from filter(None, [panel.get_legend()])
        if panel.axison:
            yield from (panel.xaxis, panel.yaxis)


def outside(figure, allowed=1.5):
    """Parts that reach out of a figure by more than some pixels, and where they lie."""
    figure.draw_without_rendering()
    for part in written(figure):
        box = part.get_tightbbox(figure.canvas.get_renderer()) if part.get_visible() else None
        # A text without letters has a box without size, or none at all.
        if box is None or not box.width > 0:
            continue
        if not all(figure.bbox.padded(allowed).contains(*corner) for corner in (box.min, box.max)):
            yield str(part), box.extents.round().tolist()


@pytest.mark.parametrize("name", FIGURES)
def test_text_stays_inside(drawn, name):
    FIGURES[name](target="figure.png")
    (figure,) = drawn
    assert list(outside(figure)) == []


def test_every_figure_is_looked_at():
    known = {
        name
        for module in modules()
        for name, value in inspect.getmembers(module, inspect.isfunction)
        if name.startswith("draw_") and value.__module__ == module.__name__
    }
    assert {figure.func.__name__ for figure in FIGURES.values()} == known
