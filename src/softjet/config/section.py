"""What all sections of the configuration share."""

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

GivenPath = Annotated[str, Field(pattern=r"^[^<>{}]*$")]
"""A path without the signs that the workflow manager reads as its own."""


Values = TypeVar("Values", bound=tuple)


def each_once(values: Values) -> Values:
    """Check that no value stands in a list twice.

    Raises
    ------
    ValueError
        One does.
    """
    if again := [value for value in values if values.count(value) > 1]:
        raise ValueError(f"names {again[0]} twice; name each once")
    return values


class Section(BaseModel):
    """A section: unknown keys are errors, numbers finite, values frozen, docstrings descriptions."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Computed(Section):
    """Where a model is trained, and in which precision."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it is computed; `auto`: on a GPU where there is one."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto`: bfloat16 autocast where the device multiplies bfloat16 matrices faster, else float32."""
