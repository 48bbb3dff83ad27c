"""From YAML to a validated configuration, or one line that says what is wrong."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from softjet.config.plain import find_odd
from softjet.config.root import Config
from softjet.errors import InputError
from softjet.provenance.files import check_is_file


def validate(values: Mapping[str, Any], where: object) -> Config:
    """Check a configuration given as nested mappings.

    Parameters
    ----------
    values : mapping
        Sections and keys; what is absent takes its default.
    where : object
        The file (or files) it was read from, for the message.

    Raises
    ------
    InputError
        Names the first wrong key and what to do.
    """
    if odd := find_odd(values):
        raise InputError(where, *odd)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field, problem = _explain(first)
        raise InputError(where, field, problem) from None


def load_config(path: str | Path) -> Config:
    """Read one YAML file; see :func:`validate`."""
    check_is_file(path, advice="give the path of a YAML file")
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(path, "file", "does not exist; give the path of a YAML file") from None
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        raise InputError(path, "file", f"is not YAML: {error}") from None
    if values is not None and not isinstance(values, dict):
        raise InputError(path, "file", "does not hold sections; begin with a line like `paths:`")
    return validate(values or {}, path)


def _explain(error: ErrorDetails) -> tuple[str, str]:
    field = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        key = str(error["loc"][-1])
        known = _keys_beside(error["loc"])
        close = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
        return field, f"unknown key; {hint}"
    if field.endswith(".[key]"):  # so pydantic marks a mapping's key that is none of those listed
        return field.removesuffix(".[key]"), f"unknown key; known are {error['ctx']['expected']}"
    if not error["loc"]:
        field, _, problem = error["msg"].removeprefix("Value error, ").partition(": ")
        return field, problem
    if error["type"] == "value_error":
        return field, error["msg"].removeprefix("Value error, ")
    return field, f"{error['msg']}, got {error['input']!r}"


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    """Names of the keys that the section at fault knows."""
    section: type[BaseModel] = Config
    for part in location[:-1]:
        field = section.model_fields.get(str(part))
        if field is None:
            continue  # a name that the user gave, as of a dataset
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        section = next(k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel))
    return list(section.model_fields)
