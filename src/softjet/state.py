"""The saved state of a training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from softjet.errors import InputError
from softjet.provenance.files import whole_file


def save_state(path: Path, content: Mapping[str, Any]) -> None:
    """Write a state; the one before it stays whole until this one is."""
    with whole_file(path) as partial:
        torch.save(dict(content), partial)


def load_state(path: Path) -> dict[str, Any]:
    """Read a state into the processor's memory; model and optimiser take it to where they are.

    Raises
    ------
    InputError
        It cannot be read.
    """
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:
        raise InputError(path, "state", f"cannot be read ({error}); remove it to train anew") from error
