from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from softjet.figures import observables
from softjet.figures.observable_findings import correlation_findings, probe_findings
from softjet.figures.observables import ALL_JETS, NAMES, WITHIN, draw_correlations, draw_probes

STATES = (("embedding", -1), ("layer", 0), ("layer", 1), ("class token", -1))


def probes(gain=0.2):
    """R^2 of the inputs is .3; the untrained network has .5, the trained `gain` more; D2 is .1 better."""
    rows = []
    for scope, observable in product((ALL_JETS, WITHIN), NAMES):
        better = 0.1 * (observable == "d2")
        levels = [("inputs", "", -1, 0.3), ("class", "", -1, 0.25)][: 2 if scope == ALL_JETS else 1]
        levels += [
            (name, *state, 0.5 + better + (gain if name == "trained" else 0))
            for name, state in product(("trained", "untrained"), STATES)
        ]
        for network, state, layer, r2 in levels:
            row = {"network": network, "state": state, "layer": layer, "observable": observable}
            row |= {"scope": scope, "r2": r2, "low": r2 - 0.05, "high": r2 + 0.05, "n": 900, "n_train": 800}
            for rival, other in (
                (("untrained", 0.5 + better), ("inputs", 0.3)) if network == "trained" else ()
            ):
                name = f"gain_{rival}"
                row |= {name: r2 - other, f"{name}_low": r2 - other - 0.06, f"{name}_high": r2 - other + 0.06}
            rows.append(row)
    return pd.DataFrame(rows)


def correlations(q=0.01):
    rows = []
    summaries = ("entropy", "within_subjet", "binary")
    for summary, layer, observable, scope in product(summaries, (0, 1), NAMES, (ALL_JETS, WITHIN)):
        rho = 0.6 if (summary, layer, observable) == ("binary", 1, "tau21") else -0.2
        row = {"summary": summary, "layer": layer, "observable": observable, "scope": scope, "n": 900}
        for name, value in (("rho", rho), ("untrained", 0.1), ("difference", rho - 0.1)):
            row |= {name: value, f"{name}_low": value - 0.05, f"{name}_high": value + 0.05}
            row |= {f"{name}_p": q, f"{name}_q": 0.5 if name == "untrained" else q}
        rows.append(row)
    return pd.DataFrame(rows)


@pytest.fixture
def axes(monkeypatch):
    """The figure's panels, kept open instead of written."""
    kept = []
    monkeypatch.setattr(observables, "save_figure", lambda figure, target: kept.append(figure))
    yield lambda: kept[-1].axes
    plt.close("all")


def test_strongest_and_weakest_stand_beside_untrained_inputs_and_class():
    layer, token, *_ = probe_findings(probes())
    assert "pooled state of layer 1" in layer
    assert "class token" in token
    assert (
        "reads D2 (held-out R^2 0.80 [0.75, 0.85]; untrained network 0.60, simple inputs 0.30, "
        "class alone 0.25) best" in layer
    )
    assert "on 900 test jets" in layer


def test_multiplicity_is_neither_strongest_nor_weakest():
    table = probes()
    table.loc[table.observable == "multiplicity", "r2"] = 0.99
    assert "multiplicity (held-out" not in " ".join(probe_findings(table))


@pytest.mark.parametrize(
    ("gain", "said", "unsaid"),
    [
        (0.2, "more of 11 of 11 observables than the untrained network does (most of ", "and less of"),
        (0.03, "more of none of 11 observables than the untrained network does, more of 11 than", "less of"),
        (
            -0.3,
            "more of none of 11 observables than the untrained network does and less of all 11; ",
            "(most of",
        ),
        (-0.3, "more of none than simple inputs and less of tau_1, ", "(most of"),
    ],
)
def test_a_claim_that_fails_is_said_to_fail(gain, said, unsaid):
    table = probes(gain)
    table.loc[table.observable == "d2", "gain_inputs_low"] = -1.0 if gain < 0 else 0.1
    text = list(probe_findings(table))[2]
    assert said in text
    assert unsaid not in text


def test_correlations_are_counted_beside_the_untrained_network():
    count, most = correlation_findings(correlations())
    assert "Within classes 66 of 66 Spearman correlations" in count
    assert "in the untrained network 0" in count
    assert "all 396 tests" in count
    assert "differ most in share of binary queries in layer 1 with tau_21: 0.60 [0.55, 0.65]" in most


def test_correlations_of_the_untrained_network_are_a_warning_and_undefined_cells_do_not_count():
    table = correlations()
    assert "no sign of learning" not in next(correlation_findings(table))
    table.loc[table.layer == 0, "untrained_q"] = 0.01
    table.loc[(table.layer == 1) & (table.observable == "d2"), ["rho", "rho_q"]] = np.nan
    count = next(correlation_findings(table))
    assert "Within classes 63 of 63" in count
    assert "in the untrained network 33: a correlation alone is no sign of learning." in count


def test_networks_that_are_not_told_apart_are_said_so():
    count, most = correlation_findings(correlations(q=0.3))
    assert "Within classes 0 of 66" in count
    assert most.startswith("In no cell is the trained network told from the untrained one.")


@pytest.mark.parametrize("scope", [ALL_JETS, WITHIN])
def test_panels_hold_depth_from_embedding_to_class_token_and_baselines(axes, scope):
    draw_probes(probes(), "probes.png", scope)
    panels = [panel for panel in axes() if panel.get_title()]
    assert len(panels) == len(NAMES)
    trained, untrained = (bars.lines[0] for bars in panels[0].containers)
    assert np.allclose(trained.get_ydata(), 0.7)
    assert np.allclose(untrained.get_ydata(), 0.5)
    assert (trained.get_linestyle(), untrained.get_linestyle()) == ("-", "--")
    assert trained.get_xdata().tolist() == [-1, 0, 1, 2]
    assert [label.get_text() for label in panels[-1].get_xticklabels()] == ["E", "0", "1", "C"]
    levels = [line.get_ydata()[0] for line in panels[0].lines if len(set(line.get_ydata())) == 1]
    assert 0.3 in levels
    assert (0.25 in levels) == (scope == ALL_JETS)


def test_heat_maps_mark_what_differs_from_zero_and_from_no_training(axes):
    draw_correlations(correlations(), "correlations.png")
    trained, untrained = axes()[:2]
    assert {text.get_text() for text in trained.texts} == {"-0.20*†"}
    assert {text.get_text() for text in untrained.texts} == {"+0.10"}
    assert len(trained.texts) == 2 * len(NAMES)
