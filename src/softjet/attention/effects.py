"""What interventions change, as a table: paired intervals, random edges beside, all tested at once."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import false_discovery_control
from scipy.stats import t as student

from softjet.attention.interventions import Condition, Outcome, Outcomes
from softjet.attention.resample import resample
from softjet.attention.statistics import ALL, FEWEST_JETS, LEVEL, stretch
from softjet.part.rejection import WorkingPoint, scores, survivors, too_few, working_points

Floats = NDArray[np.float64]

METRICS = ("true_logit", "margin", "accuracy")

ARMS = ("change", "control", "difference")
"""What the intervention changes, what its control changes, and the former less the latter."""

REJECTION_RESAMPLES = 200


def effects(
    outcomes: Outcomes, classes: Sequence[str], bootstrap: int, seed: int, many: Outcomes | None = None
) -> pd.DataFrame:
    """Change of a network's answer under each intervention, overall and by class.

    Parameters
    ----------
    outcomes : Outcomes
        By `softjet.attention.interventions.intervene`.
    classes : sequence of str
        Names of the classes.
    bootstrap : int
        Resamples of jets, drawn within each class, the same for all conditions.
    seed : int
        Of the resamples.
    many : Outcomes, optional
        Of more jets, background among them (`softjet.attention.interventions.cut_everywhere`): rejections
        under its conditions are measured on these.

    Returns
    -------
    DataFrame
        intervention, layer, head (-1: all), label (-1: all classes), metric, before, change, control,
        difference, each of the last three with its 95 % interval (change_low, ...; wider by as much as the
        spread of few jets is not known; NaN with fewer than five), p (two-sided, of no difference: Student's
        t with the bootstrap's standard error, jets less classes degrees of freedom), q (p after Benjamini and
        Yekutieli's correction for all rows of the metric, whatever their dependence), mass (mean weight taken
        from a query in a head), n_jets, note.
        Metrics: `true_logit`, the logit of the true class; `margin`, the same less the largest other one;
        `accuracy`; and rejections at the working points of `softjet.part.rejection`, whose changes are of
        ln(rejection) and whose label is that of the signal.
    """
    counts = resample(outcomes.label, bootstrap, seed)
    rows = [
        {**condition._asdict(), "mass": _mass(outcome), **row}
        for condition, outcome in outcomes.of.items()
        for row in (
            *_mean_rows(outcomes, outcome, counts),
            *_rejection_rows(_most_jets(condition, outcomes, many), condition, classes, seed),
        )
    ]
    table = pd.DataFrame(rows)
    table["q"] = table.groupby("metric")["p"].transform(_corrected)
    names = [f"{arm}{end}" for arm in ARMS for end in ("", "_low", "_high")]
    order = [*Condition._fields, "label", "metric", "before", *names, "p", "q", "mass", "n_jets", "note"]
    return table[order]


def outcome_metrics(logits: NDArray[np.float32], label: NDArray[np.int64]) -> Floats:
    """True class's logit, margin and whether the jet is told right, (J, 3) in the order of METRICS."""
    jets = np.arange(len(label))
    true, others = logits[jets, label].astype(np.float64), logits.astype(np.float64)
    others[jets, label] = -np.inf
    return np.stack([true, true - others.max(1), logits.argmax(1) == label], axis=1)


def _mass(outcome: Outcome) -> float:
    return float(outcome.mass[_answered(outcome)].mean()) if _answered(outcome).any() else np.nan


def _answered(outcome: Outcome) -> NDArray[np.bool_]:
    """Jets that the intervention could be made on."""
    return np.isfinite(outcome.after[:, 0])


def _mean_rows(outcomes: Outcomes, outcome: Outcome, counts: Floats) -> Iterator[dict[str, object]]:
    """Rows of the metrics that are means over jets."""
    answered = _answered(outcome)
    before, after, control = (
        outcome_metrics(logits, outcomes.label)
        for logits in (outcomes.before, np.nan_to_num(outcome.after), outcome.control)
    )
    changes = np.concatenate([after - before, control - before, after - control], axis=1)
    for label in (ALL, *np.unique(outcomes.label).tolist()):
        jets = answered & ((outcomes.label == label) | (label == ALL))
        n = int(jets.sum())
        if not n:
            continue
        value, draws = changes[jets].mean(0), _resampled_means(changes[jets], counts[:, jets])
        if n < FEWEST_JETS:
            draws[:] = np.nan
        for place, metric in enumerate(METRICS):
            arms = slice(place, None, len(METRICS))
            named = {"label": label, "metric": metric, "before": before[jets, place].mean()}
            freedom = n - len(np.unique(outcomes.label[jets]))
            farthest = 1.0 if metric == "accuracy" else math.inf
            estimates = _estimates(value[arms], draws[:, arms], n, freedom, farthest)
            yield named | estimates | {"n_jets": n, "note": ""}


def _resampled_means(values: Floats, counts: Floats) -> Floats:
    """Means (R, S) of values (J, S) over jets drawn `counts` (R, J) times; a draw without any is NaN."""
    drawn = counts.sum(1, keepdims=True)
    return np.divide(
        counts @ values, drawn, out=np.full((len(counts), values.shape[1]), np.nan), where=drawn > 0
    )


def _estimates(
    value: Floats, draws: Floats, jets: int, freedom: int, farthest: float = math.inf
) -> dict[str, float]:
    """Columns of three arms from their values (3,) and resampled values (R, 3), not beyond `farthest`."""
    usable = draws[np.isfinite(draws).all(1)]
    draws = usable if len(usable) else np.full((1, len(ARMS)), np.nan)
    ends = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    wider = _widening(jets, freedom)
    low, high = np.clip(value + wider * stretch(freedom) * (ends - value), -farthest, farthest)
    columns: dict[str, float] = {}
    for arm, *numbers in zip(ARMS, value, low, high, strict=True):
        columns |= dict(zip((arm, f"{arm}_low", f"{arm}_high"), map(float, numbers), strict=True))
    return columns | {"p": _p_value(float(value[-1]), wider * float(draws[:, -1].std()), freedom)}


def _widening(jets: int, freedom: int) -> float:
    """Factor from the spread of draws to that of what is drawn: n draws of n jets have (n - 1) / n of it."""
    return math.sqrt(jets / freedom) if freedom > 0 else math.nan


def _p_value(difference: float, error: float, freedom: int) -> float:
    """Two-sided; NaN without a standard error, but 1 where no jet shows a difference."""
    if error > 0:
        return float(2 * student.sf(abs(difference) / error, freedom))
    return 1.0 if difference == 0 else np.nan


def _corrected(p: pd.Series) -> pd.Series:
    known = p.notna()
    if not known.any():
        return p
    return pd.Series(np.nan, p.index).mask(
        known, pd.Series(false_discovery_control(p[known], method="by"), p.index[known])
    )


def _most_jets(condition: Condition, outcomes: Outcomes, many: Outcomes | None) -> Outcomes:
    return many if many is not None and condition in many.of else outcomes


def _rejection_rows(
    outcomes: Outcomes, condition: Condition, classes: Sequence[str], seed: int
) -> Iterator[dict[str, object]]:
    """A row a working point whose two classes have jets."""
    outcome = outcomes.of[condition]
    answered = _answered(outcome)
    label = outcomes.label[answered]
    arms = [logits[answered] for logits in (outcomes.before, outcome.after, outcome.control)]
    for point in working_points(classes):
        if {list(classes).index(name) for name in point[:2]} <= set(label.tolist()):
            signal = list(classes).index(point.signal)
            row = _rejection(arms, label, classes, point, seed)
            yield {"label": signal, "metric": point.metric, "mass": _mass(outcome)} | row


def _rejection(
    arms: Sequence[NDArray], label: NDArray[np.int64], classes: Sequence[str], point: WorkingPoint, seed: int
) -> dict[str, object]:
    pairs = [scores(logits, label, classes, point) for logits in arms]
    n_signal, n = (len(side) for side in pairs[0])
    passing = _passing(point, pairs, np.arange(n_signal), np.arange(n))
    if note := too_few(point, n_signal, int(passing.min()), n):
        return {"n_jets": n, "note": note}
    generator = np.random.default_rng(seed)
    draws = [
        _passing(point, pairs, generator.integers(n_signal, size=n_signal), generator.integers(n, size=n))
        for _ in range(REJECTION_RESAMPLES)
    ]
    values, resampled = _log_changes(passing[None])[0], _log_changes(np.stack(draws))
    measured = {"before": n / passing[0], "n_jets": n, "note": ""}
    return measured | _estimates(values, resampled, n + n_signal, n + n_signal - 2)


def _passing(
    point: WorkingPoint, pairs: Sequence[tuple[NDArray, NDArray]], signal: NDArray, background: NDArray
) -> NDArray[np.integer]:
    """Background jets of a draw that pass before, after and in the control, (3,); at least one."""
    efficiency = np.array([point.percent / 100])
    return np.array([max(1, survivors(s[signal], b[background], efficiency)[0]) for s, b in pairs])


def _log_changes(passing: NDArray) -> Floats:
    """Change of ln(rejection) in each arm, (R, 3), from counts that pass (R, 3)."""
    before, after, control = -np.log(passing.T)
    return np.stack([after - before, control - before, after - control], axis=1)
