"""Every value of a configuration, and another valid one for each."""

import copy
from typing import get_args

import yaml
from running import ROOT

from softjet.config.load import validate
from softjet.config.root import Config
from softjet.errors import InputError


def merged(path):
    """The defaults with a file over them, as Snakemake merges them."""
    values = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    return _over(values, yaml.safe_load(path.read_text()))


def _over(values, more):
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            _over(values[key], value)
        else:
            values[key] = value
    return values


def leaves(values, path=()):
    """Paths of all values that are no sections."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, key))
        elif value is not None or len(path) > 1:
            yield (*path, key)


def at(values, path):
    for key in path:
        values = values[key]
    return values


def replaced(values, path, value):
    """A copy with another value at a path."""
    values = copy.deepcopy(values)
    at(values, path[:-1])[path[-1]] = value
    return values


TOGETHER = {
    ("part", "reference", "training", "steps"): {("part", "reference", "training", "epochs"): None},
    ("datasets", "simulated", "fractions", "train"): {("datasets", "simulated", "fractions", "test"): 0.25},
    ("datasets", "simulated", "fractions", "validation"): {
        ("datasets", "simulated", "fractions", "test"): 0.25
    },
    ("datasets", "simulated", "fractions", "test"): {("datasets", "simulated", "fractions", "train"): 0.45},
}
"""Values that can change only with another."""


def other(values, path):
    """A valid configuration that differs at this path (and what belongs to it), or None."""
    before = validate(values, "test")
    for also, value in TOGETHER.get(path, {}).items():
        values = replaced(values, also, value)
    for value in _candidates(at(values, path), _choices(path)):
        changed = replaced(values, path, value)
        try:
            if validate(changed, "test") != before:
                return changed
        except InputError:
            continue
    return None


def _candidates(value, choices):
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, list):
        first = [value[0] * 2] if value and isinstance(value[0], int | float) else []
        return [value[:-1], first, [*value, *value[-1:]], [1], [0.5], ["a"]]
    numbers = [value + 1, value - 1, value * 2, value / 2] if isinstance(value, int | float) else []
    return [*numbers, *choices, 1, 0.5, 0.55, 0.25, 0.35, "other", ["other"]]


def _choices(path):
    """Values that the schema lists for a path."""
    section = Config
    for key in path:
        field = section.model_fields.get(key)
        if field is None:
            continue  # a name that the user gave
        kinds = [field.annotation, *get_args(field.annotation)]
        kinds += [inner for kind in kinds for inner in get_args(kind)]
        found = [kind for kind in kinds if hasattr(kind, "model_fields")]
        if not found:
            return [choice for kind in kinds for choice in (kind, *get_args(kind)) if isinstance(choice, str)]
        section = found[0]
    return []
