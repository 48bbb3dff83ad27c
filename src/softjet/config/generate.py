"""Write the defaults, the JSON schema and the table of keys, all from the models.

`python -m softjet.config.generate config` brings the folder in step; a test fails when it is not.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from softjet.config.root import Config
from softjet.provenance.files import whole_file


def default_yaml() -> str:
    """The default configuration as YAML, every key with its description where it first stands."""
    head = "# The default configuration, generated from src/softjet/config by `make defaults`.\n"
    return head + "".join(f"{line}\n" for line in _yaml_lines(Config(), 0, set()))


def schema_json() -> str:
    """The JSON schema of the configuration."""
    return json.dumps(Config.model_json_schema(), indent=1) + "\n"


def key_table() -> str:
    """Every key with type, default and meaning, as a Markdown page."""
    head = (
        "# Every key of the configuration\n\n"
        "Generated from src/softjet/config by `make defaults`. `*` stands for a name, `[]` for each entry of "
        "a list. Defaults are those of an entry with a name of yours; where the first one that stands in "
        "config.yaml has another, it follows.\n\n"
    )
    rows = "| key | default | meaning |\n|---|---|---|\n"
    return (
        head + rows + "".join(f"| `{key}` | {value} | {text} |\n" for key, value, text in _rows(Config(), ""))
    )


def generate(folder: str | Path) -> None:
    """Write config.yaml, schema.json and README.md into `folder`."""
    for name, text in (
        ("config.yaml", default_yaml()),
        ("schema.json", schema_json()),
        ("README.md", key_table()),
    ):
        with whole_file(Path(folder) / name) as partial:
            partial.write_text(text, encoding="utf-8")


def _fields(section: BaseModel) -> Iterator[tuple[str, str, Any]]:
    for name, field in type(section).model_fields.items():
        yield name, field.description or "", getattr(section, name)


def _yaml_lines(section: BaseModel, depth: int, told: set[str]) -> Iterator[str]:
    """Lines of a section; a key is described where it comes first."""
    margin = "  " * depth
    for name, description, value in _fields(section):
        if description not in told:
            yield f"{margin}# {description}"
            told.add(description)
        if isinstance(value, BaseModel):
            yield f"{margin}{name}:"
            yield from _yaml_lines(value, depth + 1, told)
        elif _is_named(value):
            yield f"{margin}{name}:"
            for key, inner in value.items():
                yield f"{margin}  {key}:"
                yield from _yaml_lines(inner, depth + 2, told)
        else:
            yield f"{margin}{name}: {_plain(value)}"


def _rows(section: BaseModel, prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, description, value in _fields(section):
        key = f"{prefix}{name}"
        if isinstance(value, BaseModel):
            yield from _rows(value, f"{key}.")
        elif _is_named(value):
            yield from _named_rows(key, value)
        else:
            yield _row(key, f"`{_plain(value)}`", description)
            mark = "[]" if isinstance(value, tuple) else ""
            for kind in _sections_of(type(section).model_fields[name].annotation):
                yield from _rows_of(kind, f"{key}{mark}.")


def _named_rows(key: str, named: Mapping[str, BaseModel]) -> Iterator[tuple[str, str, str]]:
    """Rows of sections by name: what one of the user's has, and what the first default has otherwise."""
    first, inner = next(iter(named.items()))
    own = {row_key: given for row_key, given, _ in _rows_of(type(inner), f"{key}.*.")}
    for row_key, value, text in _rows(inner, f"{key}.*."):
        given = own.get(row_key, value)
        yield row_key, value if given == value else f"{given}; of `{first}` {value}", text


def _rows_of(kind: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str]]:
    """Rows of a section by what its type says: one that the defaults leave out, or one of the user's."""
    for name, field in kind.model_fields.items():
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            yield from _rows(default, f"{prefix}{name}.")
        else:
            given = "required" if field.is_required() else f"`{_plain(default)}`"
            yield _row(f"{prefix}{name}", given, field.description or "")


def _row(key: str, value: str, description: str) -> tuple[str, str, str]:
    return key, value, description.replace("|", "\\|").replace("\n", " ")


def _sections_of(annotation: Any) -> Iterator[type[BaseModel]]:
    """Kinds of section that a key may hold, in a list or not at all."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _sections_of(inner)


def _is_named(value: Any) -> bool:
    """Whether a value holds sections by names of the user's."""
    return isinstance(value, dict) and any(isinstance(inner, BaseModel) for inner in value.values())


def _plain(value: Any) -> str:
    # JSON is YAML, but for numbers like 1e-05, which YAML reads as text.
    if isinstance(value, float):
        return f"{value:.10f}".rstrip("0") + ("0" if value == int(value) else "")
    if isinstance(value, tuple):
        value = [v.model_dump(mode="json") if isinstance(v, BaseModel) else v for v in value]
    return json.dumps(value)


if __name__ == "__main__":
    generate(sys.argv[1])
