"""Attention: recorded as the model computes it, beside nulls, and what it says about jets."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from softjet.attention.recording import record as record

__all__ = ["record"]


def __getattr__(name: str) -> Any:
    """Import `record` when it is asked for, so that reading a table needs no torch."""
    if name != "record":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from softjet.attention.recording import record

    return record
