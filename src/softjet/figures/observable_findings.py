"""Tables of probes and of correlations with traditional observables in plain English, for the report."""

from collections.abc import Iterator

import pandas as pd

from softjet.figures.observables import ALL_JETS, SIGNIFICANT, WITHIN
from softjet.figures.report import with_interval

WORDS = {
    "tau1": "tau_1", "tau2": "tau_2", "tau3": "tau_3", "tau4": "tau_4", "tau21": "tau_21", "tau32": "tau_32",
    "c2": "C2", "d2": "D2", "ln_sdmass": "the logarithm of the soft-drop mass",
    "multiplicity": "multiplicity", "ptd": "pT D",
}  # fmt: skip

SUMMARY_WORDS = {
    "effective_keys": "effective number of keys",
    "entropy": "relative entropy",
    "binary": "share of binary queries",
    "self": "share of queries on themselves",
    "within_subjet": "weight within the subjet",
    "distance": "distance of query and key",
}


def probe_findings(table: pd.DataFrame) -> Iterator[str]:
    """What a table of `softjet.attention.probes.probe_table` shows, a sentence a finding.

    A network is said to hold an observable beyond a rival where the whole interval of the gain is above zero.
    """
    for state in (_last_layer, _class_token):
        yield _strongest(state(table, ALL_JETS), table)
    yield from within_findings(table)
    yield (
        "R^2 over all jets says whether an observable can be read off the state, which a state that knows "
        "the class can do to the extent that classes differ in it; R^2 within classes says whether the "
        "state tells jets of the same class apart by it. Neither says that the network uses it. Intervals "
        "hold 95 % over test jets, not over trainings of network or probe, and are not corrected for their "
        "number."
    )


def within_findings(table: pd.DataFrame) -> Iterator[str]:
    """What states hold within classes, beyond the untrained network and simple inputs, a sentence a state.

    Parameters
    ----------
    table : DataFrame
        As of :func:`probe_findings`.
    """
    yield from (_gains(name, state(table, WITHIN)) for name, state in _STATES.items())


def correlation_findings(table: pd.DataFrame) -> Iterator[str]:
    """What a table of `softjet.attention.correlations.correlation_table` shows, a sentence a finding."""
    cells = table[table.scope == WITHIN]
    told, fresh, apart = (
        int((cells[f"{name}_q"] < SIGNIFICANT).sum()) for name in ("rho", "untrained", "difference")
    )
    moral = ": a correlation alone is no sign of learning" if fresh else ""
    yield (
        f"Within classes {told} of {cells.rho_q.notna().sum():,} Spearman correlations of an attention "
        f"summary of a layer with an observable differ from zero (q < {SIGNIFICANT:g}), in the untrained "
        f"network {fresh}{moral}. In {apart} cells the two networks differ. {_correction(table)}"
    )
    yield f"{_furthest(cells)} {_most_correlated(cells)}"


def _correction(table: pd.DataFrame) -> str:
    tests = table[["rho_q", "untrained_q", "difference_q"]].notna().sum().sum()
    return f"q is p after Benjamini and Hochberg's correction for all {tests:,} tests of the table."


def _last_layer(table: pd.DataFrame, scope: str) -> pd.DataFrame:
    """Rows of the trained network's last layer."""
    own = table[(table.network == "trained") & (table.state == "layer") & (table.scope == scope)]
    return own[own.layer == own.layer.max()]


def _class_token(table: pd.DataFrame, scope: str) -> pd.DataFrame:
    """Rows of the trained network's class token."""
    return table[(table.network == "trained") & (table.state == "class token") & (table.scope == scope)]


_STATES = {"the pooled state of the last layer": _last_layer, "the class token": _class_token}


def _strongest(rows: pd.DataFrame, table: pd.DataFrame) -> str:
    """Best and worst observable of a state, beside what the state is compared with."""
    state = (
        "class token"
        if rows.state.iloc[0] == "class token"
        else f"pooled state of layer {rows.layer.iloc[0]}"
    )
    # The multiplicity is one of the inputs: to find it in a state says little.
    order = rows[rows.observable != "multiplicity"].sort_values("r2")
    best, worst = (_beside(order.iloc[place], table) for place in (-1, 0))
    return (
        f"From the trained network's {state} a linear probe reads {best} best, and {worst} worst "
        f"(multiplicity apart, which is an input), on {rows.n.iloc[0]:,} test jets."
    )


def _beside(row: pd.Series, table: pd.DataFrame) -> str:
    """An observable with its R^2 and those of its rivals."""
    same = table[(table.observable == row.observable) & (table.scope == row["scope"])]
    twin = same[(same.network == "untrained") & (same.state == row.state) & (same.layer == row.layer)].iloc[0]
    inputs, known = (same[same.network == name].iloc[0] for name in ("inputs", "class"))
    return (
        f"{WORDS[row.observable]} (held-out R^2 {with_interval(row.r2, row.low, row.high, digits=2)}; "
        f"untrained network {twin.r2:.2f}, simple inputs {inputs.r2:.2f}, class alone {known.r2:.2f})"
    )


def _gains(state: str, rows: pd.DataFrame) -> str:
    """Within classes: how many observables a state holds beyond the untrained network and the inputs."""
    rivals = {
        "untrained": f" of {len(rows)} observables than the untrained network does",
        "inputs": " than simple inputs",
    }
    parts = [_beyond(rows, rival, than) for rival, than in rivals.items()]
    # After a list of observables a comma would go on with it.
    between = "; " if " and less of " in parts[0] else ", "
    return f"Within classes {state} holds, linearly, {between.join(parts)}."


def _beyond(rows: pd.DataFrame, rival: str, than: str) -> str:
    """Of how many observables a state holds more than a rival, and of which less."""
    above, below = rows[rows[f"gain_{rival}_low"] > 0], rows[rows[f"gain_{rival}_high"] < 0]
    less = f" and less of {_listed(below, len(rows))}" if len(below) else ""
    return f"more of {len(above) or 'none'}{than}{_most(above, rival)}{less}"


def _most(rows: pd.DataFrame, rival: str) -> str:
    if rows.empty:
        return ""
    row = rows.sort_values(f"gain_{rival}").iloc[-1]
    value, low, high = (row[f"gain_{rival}{end}"] for end in ("", "_low", "_high"))
    gain = with_interval(value, low, high, digits=2)
    return f" (most of {WORDS[row.observable]}: R^2 higher by {gain})"


def _listed(rows: pd.DataFrame, of: int) -> str:
    return f"all {of}" if len(rows) == of else ", ".join(WORDS[name] for name in rows.observable)


def _furthest(cells: pd.DataFrame) -> str:
    """The cell in which the networks differ most, of those that are told apart."""
    told = cells[cells.difference_q < SIGNIFICANT]
    if told.empty:
        return "In no cell is the trained network told from the untrained one."
    row = told.iloc[int(told.difference.abs().argmax())]
    return (
        f"They differ most in {_cell(row)}: {_rho(row, 'rho')} in the trained network, "
        f"{_rho(row, 'untrained')} in the untrained one."
    )


def _most_correlated(cells: pd.DataFrame) -> str:
    """The largest correlation with anything but the multiplicity, which counts the keys."""
    others = cells[(cells.observable != "multiplicity") & cells.rho.notna()]
    if others.empty:
        return ""
    row = others.iloc[int(others.rho.abs().argmax())]
    return (
        f"The largest correlation, multiplicity apart, is of {_cell(row)}: {_rho(row, 'rho')}, untrained "
        f"{_rho(row, 'untrained')}."
    )


def _cell(row: pd.Series) -> str:
    return f"{SUMMARY_WORDS[row.summary]} in layer {row.layer} with {WORDS[row.observable]}"


def _rho(row: pd.Series, name: str) -> str:
    return with_interval(row[name], row[f"{name}_low"], row[f"{name}_high"], digits=2)
