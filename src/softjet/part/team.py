"""Processes that train one model together, and the pieces of a step that each computes."""

import os
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from softjet.config.part import Training


@dataclass(frozen=True)
class Team:
    """A process among those that train one model; alone where torchrun started none.

    Attributes
    ----------
    rank : int
        Its place, from 0.
    size : int
        Processes in all.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def here(cls) -> "Team":
        """The team of torch's process group."""
        if distributed.is_available() and distributed.is_initialized():
            return cls(distributed.get_rank(), distributed.get_world_size())
        return cls()

    @property
    def share(self) -> tuple[int, int]:
        """Share of the jets, as a loader wants it."""
        return self.rank, self.size

    def add(self, value: Tensor) -> Tensor:
        """Sum over the processes, in place; every process must call it."""
        if self.size > 1:
            distributed.all_reduce(value)
        return value

    def network(self, model: nn.Module, config: Training) -> nn.Module:
        """The model for the forward pass of a training step; its gradients are means over the processes."""
        if self.size == 1:
            return model
        if config.sync_batchnorm:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        # Running averages are RunningAverages' business.
        return DistributedDataParallel(model, forward_sync_buffers=False)


def local_rank() -> int:
    """Place of this process on its machine, which names its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


class RunningAverages:
    """BatchNorm's running averages in a step of several pieces.

    Every piece starts from the averages before the step, and the step ends with the mean over its pieces, so
    that it does not matter which process computes which piece, and when.

    Parameters
    ----------
    model : nn.Module
    pieces : int
        Pieces of this process in a step.
    team : Team
    """

    def __init__(self, model: nn.Module, pieces: int, team: Team) -> None:
        self._pieces, self._team = pieces, team
        self._needed = pieces * team.size > 1
        self._averages = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        self._counters = [buffer for buffer in model.buffers() if not buffer.is_floating_point()]

    def begin(self) -> None:
        """Keep what every piece starts from."""
        if self._needed:
            self._start = torch.cat([average.flatten() for average in self._averages])
            self._counts = [counter.clone() for counter in self._counters]
            self._sum = torch.zeros_like(self._start)

    def end_piece(self) -> None:
        """Take the piece in, and go back to the start."""
        if self._needed:
            self._sum += torch.cat([average.flatten() for average in self._averages])
            self._write(self._start)
            for counter, count in zip(self._counters, self._counts, strict=True):
                counter.copy_(count)

    def end(self) -> None:
        """Go on to the mean over the pieces."""
        if self._needed:
            self._write(self._team.add(self._sum) / (self._pieces * self._team.size))
            for counter in self._counters:
                counter += 1

    def _write(self, values: Tensor) -> None:
        parts = values.split([average.numel() for average in self._averages])
        for average, part in zip(self._averages, parts, strict=True):
            average.copy_(part.view_as(average))
