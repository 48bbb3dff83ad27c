"""Tables of focus, partners and distance in plain English."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from softjet.figures.focus import CONTRIBUTIONS, GROUPS, KINDS, PARTNERS

ALL = -1

RATE = 0.05
"""False discovery rate at which cells are said to differ."""

LIGHT = ("QCD", "Hgg", "H4q", "Wqq", "Hqql")
"""Classes whose decay has no bottom quark, and a charm quark at most by the way."""

LEPTONIC = ("Hqql", "Tbl")

KIND_WORDS = {
    "to_hardest": "the hardest particle",
    "to_lepton": "electrons and muons",
    "to_photon": "photons",
    "to_displaced": "displaced tracks",
    "to_heavy": "products of b and c hadrons (truth)",
}

PARTNER_WORDS = {
    "sibling": "a sibling in the decay (truth)",
    "kt": "its kT merge partner",
    "cambridge_aachen": "its Cambridge/Aachen merge partner",
    "nearest": "its nearest neighbour",
    "hardest": "the hardest particle",
}

GROUP_WORDS = {"subjet": "kT subjet", "prong": "true prong"}

GROUP_JETS = {
    "subjet": "in jets of two or more prongs, cut into as many kT subjets",
    "prong": "in jets with particles of two or more true prongs",
}
"""Jets that attention within each group is told of; other statistics cut jets in other ways."""

CONTRIBUTION_WORDS = {
    "shapley_kt": "ln kT", "shapley_z": "ln z", "shapley_delta": "ln Delta", "shapley_m2": "ln m^2",
}  # fmt: skip


LEAST_SHARE = 0.005
"""Bins of distance that hold less of the particles are not spoken of."""


def focus_findings(statistics: pd.DataFrame) -> Iterator[str]:
    """What attention within subjets and prongs and attention to kinds of particles show.

    Parameters
    ----------
    statistics : DataFrame
        Of `softjet.attention.focus`, by `softjet.attention.statistics.statistics_table`.
    """
    overall = _overall(statistics)
    for group in GROUP_WORDS:
        yield from _of_group(overall, group)
    for name, word in KIND_WORDS.items():
        if name in overall:
            yield _received(overall[name], overall[f"{name}_pt"], word)
    yield from decay_findings(statistics)
    groups = {f"mass_{group}": f"another {word}" for group, word in GROUP_WORDS.items()}
    yield from _left_out(overall, KIND_WORDS | groups)
    yield _compared(statistics, GROUPS | KINDS)


def subjet_findings(statistics: pd.DataFrame) -> Iterator[str]:
    """How much attention stays within subjets, where jets have two.

    Parameters
    ----------
    statistics : DataFrame
        As of :func:`focus_findings`.
    """
    yield from _of_group(_overall(statistics), "subjet")


def _of_group(overall: Mapping[str, pd.Series], group: str) -> Iterator[str]:
    if f"mass_{group}" in overall:
        yield _within(overall[f"mass_{group}"], overall.get(f"argmax_{group}"), group)


def _left_out(overall: Mapping[str, pd.Series], words: Mapping[str, str]) -> Iterator[str]:
    """What is not said, by statistic: the jets do not tell it, or there is none of it in them."""
    absent = [word for name, word in words.items() if name not in overall]
    if absent:
        yield f"Left out, since these jets do not tell it or have none: attention to {', '.join(absent)}."


def _within(mass: pd.Series, argmax: pd.Series | None, group: str) -> str:
    """Weight and largest weights within a group; no `argmax` where every largest weight is a query's own."""
    word = GROUP_WORDS[group]
    return (
        f"Of the weight that particles put on others {GROUP_JETS[group]}, {_percent(mass)} stays in their "
        f"own {word}; a blind choice would leave {_percent(mass, 'null')}, the untrained network leaves "
        f"{_percent(mass, 'untrained')}. {_stay(argmax)}: {_preference(mass, argmax, word)} {_jets(mass)}."
    )


def _preference(mass: pd.Series, argmax: pd.Series | None, word: str) -> str:
    """What all weights and the largest ones do: one verdict where they agree, else one of each."""
    together = {
        1: f"attention keeps to the {word}",
        -1: f"attention goes to other {word}s more than a blind choice would, not to the own one",
        0: "no preference is seen",
        None: "too few jets a class to tell a preference",
    }
    apart = {
        1: f"keep to the {word}", -1: f"go to other {word}s more than a blind choice would",
        0: "show no preference", None: "are of too few jets to tell a preference",
    }  # fmt: skip
    if argmax is None or _told(mass, together) == _told(argmax, together):
        return _told(mass, together)
    return f"all weights taken together {_told(mass, apart)}, the largest ones {_told(argmax, apart)}"


def _stay(argmax: pd.Series | None) -> str:
    if argmax is None:
        return "No largest weight is on another particle"
    return f"Of the largest weights {_percent(argmax)} stay (blindly {_percent(argmax, 'null')})"


def _received(even: pd.Series, by_pt: pd.Series, word: str) -> str:
    against = {1: "more than", -1: "less than", 0: "not told from", None: "too few jets to tell it from"}
    return (
        f"Of the weight that particles give to others {_percent(even)} goes to {word}, in jets that have "
        f"any {_jets(even)}: {_told(even, against)} an even share ({_percent(even, 'null')}) and "
        f"{_told(by_pt, against)} a share by pT ({_percent(by_pt, 'null')}); untrained "
        f"{_percent(even, 'untrained')}."
    )


def _told(row: pd.Series, against: Mapping[int | None, str]) -> str:
    """On which side of its null a value is, in words; None: of too few jets for a p-value."""
    return against[None if pd.isna(row.p_null) else _side(row)]


def decay_findings(statistics: pd.DataFrame) -> Iterator[str]:
    """Whether leptons and displaced tracks draw attention where the decay makes them.

    Parameters
    ----------
    statistics : DataFrame
        As of :func:`focus_findings`.
    """
    names = [name for name in statistics["class"].unique() if name != "all"]
    yield from _follows(statistics, "to_lepton", LEPTONIC, [name for name in names if name not in LEPTONIC])
    yield from _follows(statistics, "to_displaced", ("Hbb", "Hcc", "Tbqq"), LIGHT)


def _follows(
    statistics: pd.DataFrame, statistic: str, expected: Sequence[str], others: Sequence[str]
) -> Iterator[str]:
    rows = _of_classes(statistics)
    # A class with a jet or two that has such a particle has no interval, and shows nothing.
    measured = (rows.statistic == statistic) & (rows.null > 0) & rows.low.notna()
    of_class = _by(rows[measured], "class")
    others = [name for name in others if name in of_class]
    if not set(expected) <= of_class.keys() or not others:
        return
    clear = all(_side(of_class[name]) > 0 for name in expected)
    least = min(of_class[name].low / of_class[name].null for name in expected)
    if clear and least > max(of_class[name].high / of_class[name].null for name in others):
        verdict = "follows the decay, intervals of classes apart"
    else:
        verdict = "is not told to follow the decay in every class"
    n_jets = sum(int(of_class[name].n_jets) for name in (*expected, *others))
    yield (
        f"Attention to {KIND_WORDS[statistic]} {verdict}: they get {_times(of_class, expected)} times the "
        f"even share, against {_times(of_class, others)} ({n_jets:,} jets)."
    )


def _times(of_class: Mapping[str, pd.Series], names: Sequence[str]) -> str:
    """Values in units of the null, whose own spread is left out: 5.9 [5.5, 6.3] (Tbl)."""
    rows = ((name, of_class[name]) for name in names)
    return ", ".join(
        f"{row.value / row.null:.1f} [{row.low / row.null:.1f}, {row.high / row.null:.1f}] ({name})"
        for name, row in rows
    )


def partner_findings(statistics: pd.DataFrame) -> Iterator[str]:
    """Whom the largest weight of a query is on, and which pair features put it there.

    Parameters
    ----------
    statistics : DataFrame
        Of `softjet.attention.partners` and `softjet.attention.attribution`, by
        `softjet.attention.statistics.statistics_table`.
    """
    overall = _overall(statistics)
    against = {
        1: "more often than", -1: "less often than", 0: "not told from how often",
        None: "too few jets to tell it from how often",
    }  # fmt: skip
    for name, word in PARTNER_WORDS.items():
        if name in overall:
            row = overall[name]
            yield (
                f"A particle that attends to another puts its largest weight on {word} for {_percent(row)} "
                f"of queries that have one: {_told(row, against)} a random key of the same Delta R would "
                f"({_percent(row, 'null')}); untrained {_percent(row, 'untrained')} {_jets(row)}."
            )
    yield from _left_out(overall, PARTNER_WORDS)
    if CONTRIBUTION_WORDS.keys() <= overall.keys():
        yield _attributed(overall)
    yield _compared(statistics, PARTNERS | CONTRIBUTIONS)


def _attributed(overall: dict[str, pd.Series]) -> str:
    parts = {word: overall[name] for name, word in CONTRIBUTION_WORDS.items()}
    listed = ", ".join(f"{word} {_signed(row)}" for word, row in parts.items())
    rise, qk = overall["bias_rise"], overall["qk_rise"]
    return (
        f"The pair bias of the winning key lies {_signed(rise, 'a key chosen blindly')} above that of the "
        f"jet's mean pair, shared out by Shapley values: {listed}; {_most_added(parts)}. QK lies "
        f"{_signed(qk)} above the mean of its row {_jets(rise)}. Of features that go together, a Shapley "
        "value says what the network does with each, not what it could do without it."
    )


def _most_added(parts: Mapping[str, pd.Series]) -> str:
    """Which contribution is the largest, where its interval lies above nought and above the others'."""
    if any(pd.isna([row.low, row.high]).any() for row in parts.values()):
        return "too few jets to tell which adds most"
    if all(row.high < 0 for row in parts.values()):
        return "none of them adds to it"
    largest = max(parts, key=lambda word: parts[word].value)
    others = [row.high for word, row in parts.items() if word != largest]
    told = parts[largest].low > max(0, *others)
    return f"{largest} adds most" if told else "which adds most is not told"


def distance_findings(statistics: pd.DataFrame) -> Iterator[str]:
    """How attention falls with distance, and how much of it points to the other subjet.

    Parameters
    ----------
    statistics : DataFrame
        Of `softjet.attention.planes.profile`, by `softjet.attention.statistics.statistics_table`.
    """
    bins = statistics[statistics.statistic == "distance"]
    bins = bins[(bins[["layer", "head", "label", "n_low"]] == ALL).all(axis=1)]
    bins = bins.sort_values("threshold")
    bins = bins.assign(end=bins.threshold.shift(-1, fill_value=float("inf")))
    bins = bins[bins.denominator >= LEAST_SHARE * bins.denominator.sum()]
    by_value = bins.sort_values("value")
    yield (
        f"With even attention as the measure, a particle gives others at Delta R of {_in_bin(bins.iloc[0])}, "
        f"of {_in_bin(bins.iloc[-1])}, least at {_in_bin(by_value.iloc[0])}, most at "
        f"{_in_bin(by_value.iloc[-1])} ({bins.n_jets.max():,} jets)."
    )
    yield _ahead(statistics[statistics.statistic == "ahead"])


def _ahead(rows: pd.DataFrame) -> str:
    """How much looks to the other subjet, in how many classes, and in which it is furthest from even."""
    classes = _of_classes(rows).dropna(subset="value")
    more, less = (sum(_side(row) == side for _, row in classes.iterrows()) for side in (1, -1))
    few = int(classes.p_null.isna().sum())
    untold = f", too few jets to tell in {few}" if few else ""
    return (
        "Seen along the axis through two kT subjets, the weight on the side of the other subjet is above an "
        f"even share in {more}, below in {less} of {len(classes)} classes{untold}{_furthest(classes)} "
        f"({classes.n_jets.sum():,} jets)."
    )


def _furthest(classes: pd.DataFrame) -> str:
    """The class that differs most from an even share, of those that are told from it."""
    sure = classes[classes.p_null < RATE]
    if sure.empty:
        return ""
    row = sure.iloc[int((sure.value - sure.null).abs().to_numpy().argmax())]
    return f"; furthest from it is {row['class']}, with {_percent(row)} against {_percent(row, 'null')}"


def _overall(statistics: pd.DataFrame) -> dict[str, pd.Series]:
    """The row over all layers, heads, classes and multiplicities of each statistic that has a value."""
    every = (statistics[["layer", "head", "label", "n_low"]] == ALL).all(axis=1)
    return _by(statistics[every & statistics.value.notna()], "statistic")


def _by(rows: pd.DataFrame, column: str) -> dict[str, pd.Series]:
    """Rows by what stands in a column."""
    return {str(name): of_name.iloc[0] for name, of_name in rows.groupby(column, sort=False)}


def _of_classes(statistics: pd.DataFrame) -> pd.DataFrame:
    every = (statistics[["layer", "head", "n_low"]] == ALL).all(axis=1)
    return statistics[every & (statistics.label != ALL)]


def _side(row: pd.Series) -> int:
    """1 or -1 where the value is above or below the null (95 %, by their common resamples), else 0."""
    if pd.isna(row.p_null) or row.p_null >= RATE:
        return 0
    return 1 if row.value > row.null else -1


def _compared(statistics: pd.DataFrame, names: Mapping[str, str]) -> str:
    """In how many cells of layer, head and class the statistics differ from their nulls."""
    cells = statistics[statistics.statistic.str.removesuffix("_pt").isin(names)]
    told = cells[cells.q_null.notna()]
    sure = told[told.q_null < RATE]
    more = int((sure.value > sure.null).sum())
    return (
        f"Cell by cell of layer, head and class, {len(told):,} comparisons of "
        f"{told.statistic.nunique()} statistics with their nulls at a false discovery rate of "
        f"{100 * RATE:g} % each (Benjamini-Hochberg): above in {more:,}, below in {len(sure) - more:,}, "
        f"not told in {len(told) - len(sure):,}."
    )


def _percent(row: pd.Series, of: str = "") -> str:
    """A share with its interval, of the network or of the null `of`: 3.1 % [2.9, 3.3]."""
    value, low, high = (100 * row[name] for name in _columns(of))
    digits = 1 if value >= 1 else 2
    interval = "" if pd.isna(low) else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value:.{digits}f} %{interval}"


def _jets(row: pd.Series) -> str:
    return f"({row.n_jets:,} jets)"


def _columns(of: str) -> tuple[str, str, str]:
    return (of, f"{of}_low", f"{of}_high") if of else ("value", "low", "high")


def _in_bin(row: pd.Series) -> str:
    return f"{row.threshold:.2g} to {row.end:.2g} {_number(row)} times their share"


def _number(row: pd.Series) -> str:
    return f"{row.value:.2f}" + ("" if pd.isna(row.low) else f" [{row.low:.2f}, {row.high:.2f}]")


def _signed(row: pd.Series, null: str = "blindly") -> str:
    interval = "" if pd.isna(row.low) else f" [{row.low:+.2f}, {row.high:+.2f}]"
    return f"{row.value:+.2f}{interval} ({null} {row.null:+.2f}, untrained {row.untrained:+.2f})"
