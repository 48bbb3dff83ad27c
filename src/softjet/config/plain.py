"""What values of a configuration may be before any section looks at them: few, small and plain."""

import math
from typing import Any

MOST_VALUES = 100_000
MOST_LEVELS = 20
MOST_CHARACTERS = 4096
LARGEST = 2**53
"""Bounds that no honest configuration comes near. A few lines of YAML can stand for more than any memory."""


def find_odd(values: Any) -> tuple[str, str] | None:
    """First value that is too much, or of a kind that no key has.

    Parameters
    ----------
    values : any
        As YAML gives them.

    Returns
    -------
    tuple of str, or None
        The field and what is wrong with it.
    """
    found = 0
    waiting: list[tuple[tuple[object, ...], Any]] = [((), values)]
    while waiting:
        place, value = waiting.pop()
        found += 1
        problem = f"holds more than {MOST_VALUES} values" if found > MOST_VALUES else _problem(place, value)
        if problem:
            return ".".join(map(str, place)) or "file", f"{problem}; write it plainly"
        if isinstance(value, dict):
            waiting += [((*place, key), inner) for key, inner in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [((*place, number), inner) for number, inner in enumerate(value)]
    return None


def _problem(place: tuple, value: Any) -> str:
    if len(place) > MOST_LEVELS:
        return f"is nested in more than {MOST_LEVELS} levels"
    if isinstance(value, dict):
        return next(
            (f"has the key {key!r:.99}, which {said}" for key in value if (said := _problem_of_key(key))), ""
        )
    if isinstance(value, str):
        return _problem_of_text(value)
    if isinstance(value, int | float):
        return "" if math.isfinite(value) and abs(value) <= LARGEST else "is no finite number below 2^53"
    return "" if value is None or isinstance(value, list | tuple) else f"is a {type(value).__name__}"


def _problem_of_key(key: Any) -> str:
    return _problem_of_text(key) if isinstance(key, str) else f"is a {type(key).__name__}, not text"


def _problem_of_text(text: str) -> str:
    if len(text) > MOST_CHARACTERS:
        return f"is longer than {MOST_CHARACTERS} characters"
    return "" if text.isprintable() else "holds line ends or other characters that do not print"
