"""Linear probes: how well a linear map of a network's state gives a traditional jet observable.

A probe (G. Alain, Y. Bengio, arXiv 1610.01644) says that an observable can be read off a state, not that the
network uses it. Three things stand beside it: the untrained twin, since random layers keep much of their
inputs; simple inputs, since much can be read off those; and the class alone, since observables differ by
class and a classifier knows the class.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from softjet.attention.observables import OBSERVABLES
from softjet.attention.states import Readings
from softjet.attention.statistics import LEVEL
from softjet.attention.sums import draws
from softjet.errors import InputError

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

STRENGTHS = np.logspace(-3, 5, 17)
"""Ridge strengths that cross-validation chooses among, for standardised states."""

FEWEST_JETS = 40
"""With fewer jets there is no probe to speak of."""

ALL_JETS, WITHIN = "all jets", "within classes"


class State(NamedTuple):
    """What a probe reads of the jets it is fitted on and of those it is tested on: (J, W) and (K, W).

    network : "trained", "untrained", or "inputs" and "class", which need none.
    state : "embedding", "layer", "class token" or "".
    layer : place of the layer, -1 where it is none.
    """

    network: str
    state: str
    layer: int
    train: Floats
    test: Floats


def probe_table(train: Readings, test: Readings, bootstrap: int, seed: int) -> pd.DataFrame:
    """Held-out R^2 of linear probes of every observable from every state.

    Parameters
    ----------
    train, test : Readings
        Jets that probes are fitted on, and others that they are tested on; of the networks "trained" and
        "untrained". Jets that lack an observable are left out.
    bootstrap : int
        Resamples of test jets, by their keys, the same for all probes.
    seed : int
        Of the resamples.

    Returns
    -------
    DataFrame
        network, state, layer, observable, scope ("all jets"; "within classes": states and observables less
        their class means), r2 with its 95 % interval low and high, strength (of the ridge, chosen by
        leave-one-out cross-validation on the jets it is fitted on), gain_untrained and gain_inputs (of the
        trained network: R^2 less that of the untrained network's same state, and of the inputs, paired; with
        _low and _high), n_train, n.

    Raises
    ------
    InputError
        Fewer than `FEWEST_JETS` jets have every observable.
    """
    train, test = usable(train, "validation jets"), usable(test, "test jets")
    counts = draws(test.key, bootstrap, seed)
    frames = []
    for scope in (ALL_JETS, WITHIN):
        fitted = [fit_probe(state, train, test, scope, counts) for state in states_of(train, test, scope)]
        found = {(one.network, one.state, one.layer): one for one in fitted}
        frames += [_frame(one, found).assign(scope=scope) for one in fitted]
    return pd.concat(frames, ignore_index=True).assign(n_train=len(train.label), n=len(test.label))


def states_of(train: Readings, test: Readings, scope: str) -> list[State]:
    """Inputs, every state of every network and, unless class means are taken away, the class."""
    found = [State("inputs", "", -1, train.inputs, test.inputs)]
    if scope == ALL_JETS:
        classes = np.unique(train.label)
        found.append(State("class", "", -1, *(1.0 * (r.label[:, None] == classes) for r in (train, test))))
    for name, held in test.networks.items():
        depth = held.states.shape[1]
        for place in range(depth):
            kind = "embedding" if place == 0 else "class token" if place == depth - 1 else "layer"
            pair = (r.networks[name].states[:, place].astype(np.float64) for r in (train, test))
            found.append(State(name, kind, place - 1 if kind == "layer" else -1, *pair))
    return found


def r_squared(missed: Floats, truth: Floats, group: Labels, weights: Floats) -> Floats:
    """Share of the variance within groups that is explained, 1 - sum (y - f)^2 / sum (y - mean of group)^2.

    Parameters
    ----------
    missed : (J, O)
        Truth less prediction.
    truth : (J, O)
    group : (J,)
        Groups around whose means `truth` varies.
    weights : (R, J)
        How often each jet counts.

    Returns
    -------
    (R, O)
    """
    varied = 0.0
    for one in np.unique(group):
        own, y = weights[:, group == one], truth[group == one]
        varied = varied + own @ y**2 - (own @ y) ** 2 / own.sum(1, keepdims=True).clip(1)
    return 1 - (weights @ missed**2) / varied


class Fitted(NamedTuple):
    """Of a state: R^2 of all observables, (1 + R, O), first of the jets themselves; ridge strengths (O,)."""

    network: str
    state: str
    layer: int
    r2: Floats
    strength: Floats


def fit_probe(state: State, train: Readings, test: Readings, scope: str, counts: Floats) -> Fitted:
    """Fit a probe of every observable, and give its R^2 on the jets it is tested on.

    Parameters
    ----------
    state : State
    train, test : Readings
        Without jets that lack an observable (`usable`).
    scope : "all jets" or "within classes"
    counts : (1 + R, J)
        How often each tested jet counts, by `softjet.attention.sums.draws`.
    """
    x, y = (state.train, state.test), (train.observables, test.observables)
    group = np.zeros_like(test.label)
    if scope == WITHIN:
        x, y = (_without_class(*pair, train.label, test.label) for pair in (x, y))
        group = test.label
    probe = make_pipeline(StandardScaler(), RidgeCV(STRENGTHS, alpha_per_target=True))
    probe.fit(x[0], y[0])
    r2 = r_squared(y[1] - probe.predict(x[1]), y[1], group, counts)
    return Fitted(*state[:3], r2, probe[-1].alpha_)


def _without_class(train: Floats, test: Floats, label: Labels, test_label: Labels) -> tuple[Floats, Floats]:
    """Less the class means of the jets that a probe is fitted on."""
    means = {one: train[label == one].mean(0) for one in np.unique(label)}
    overall = train.mean(0)
    return tuple(
        values - np.stack([means.get(one, overall) for one in labels])
        for values, labels in ((train, label), (test, test_label))
    )


def _frame(one: Fitted, found: dict[tuple[str, str, int], Fitted]) -> pd.DataFrame:
    """Rows of a state, one an observable."""
    columns = {"network": one.network, "state": one.state, "layer": one.layer, "observable": OBSERVABLES}
    columns |= _estimate("r2", one.r2, ("low", "high")) | {"strength": one.strength}
    if one.network == "trained":
        others = {"untrained": found["untrained", one.state, one.layer], "inputs": found["inputs", "", -1]}
        for name, other in others.items():
            gain = f"gain_{name}"
            columns |= _estimate(gain, one.r2 - other.r2, (f"{gain}_low", f"{gain}_high"))
    return pd.DataFrame(columns)


def _estimate(name: str, values: Floats, ends: tuple[str, str]) -> dict[str, Floats]:
    """Values and ends of their intervals from values (1 + R, O)."""
    low, high = np.quantile(values[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return {name: values[0], ends[0]: low, ends[1]: high}


def usable(readings: Readings, name: str) -> Readings:
    """Give the jets that have every observable; raise where they are too few (`name` says which jets)."""
    readings = readings.defined()
    if len(readings.label) < FEWEST_JETS:
        problem = f"only {len(readings.label)} have every observable; give more, {FEWEST_JETS} are needed"
        raise InputError("observables", name, problem)
    return readings
