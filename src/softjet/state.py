"""The saved state of a training."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

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
        It cannot be read, or holds no parts by name.
    """
    try:
        # Mapped, so that a large state does not stand in memory beside what it is copied into.
        content = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    except Exception as error:
        raise InputError(path, "state", f"cannot be read ({error}); remove it to train anew") from error
    if not isinstance(content, dict):
        raise InputError(
            path, "state", f"is {type(content).__name__}, not parts by name; remove it to train anew"
        )
    return content


@contextmanager
def taking_up(path: Path) -> Iterator[None]:
    """Turn whatever a state that does not fit its training raises into one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise InputError(
            path, "state", f"does not fit this training ({said}); remove it to train anew"
        ) from error


def random_states() -> list[torch.Tensor]:
    """States of the random numbers of the processor and of every CUDA device."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return [torch.get_rng_state(), *cuda]


def set_random_states(states: list[torch.Tensor]) -> None:
    """Take up what `random_states` gave."""
    torch.set_rng_state(states[0])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states[1:])


class Resumable:
    """A training by steps. What changes in it is all that a saved state holds.

    Attributes
    ----------
    model, optimiser
        Under training.
    step : int
        Steps done.
    rows : array, shape (steps, columns)
        The history; rows of steps to come are NaN.
    """

    model: nn.Module
    optimiser: torch.optim.Optimizer
    rows: np.ndarray
    step: int = 0

    @property
    def history(self) -> np.ndarray:
        """Rows of the steps done."""
        return self.rows[: self.step]

    def save(self, path: Path) -> None:
        """Write the state."""
        content = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "history": torch.from_numpy(self.history.copy()),
        }
        save_state(path, content)

    def load(self, path: Path) -> None:
        """Take a state up.

        Raises
        ------
        InputError
            It cannot be read or does not fit.
        """
        content = load_state(path)
        with taking_up(path):
            self.model.load_state_dict(content["model"])
            self.optimiser.load_state_dict(content["optimiser"])
            self.step = content["step"]
            self.rows[: self.step] = content["history"].numpy()
