"""Statistics of attention in one pass over the jets, in memory that does not grow with their number."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from softjet.attention.described import Described, describe
from softjet.attention.reading import Jets, chosen
from softjet.attention.recording import Layer, check_residual, watching
from softjet.attention.sums import Ratio, Sums
from softjet.device import device_of_model
from softjet.errors import InputError
from softjet.part.blocks import without_padding
from softjet.part.lanes import side_by_side
from softjet.part.model import ParticleTransformer
from softjet.progress import Progress

T = TypeVar("T")

CHECKED = 32
"""One jet in this many of each batch is held to the output of the block, in every layer."""


@dataclass(frozen=True)
class Seen:
    """Attention of one particle layer for B jets of up to P particles, and the jets.

    Attributes
    ----------
    layer : int
        Place of the layer.
    weights, logits, bias : (B, H, P, P)
        As the model computes them: softmax of logits, which are `qk` + bias; rows are queries, columns keys;
        0 at padding, where logits are anything.
    jets : Jets
        The batch.
    """

    layer: int
    weights: Tensor
    logits: Tensor
    bias: Tensor
    jets: Jets
    shared: "Shared"
    _qk: Callable[[], Tensor]

    @cached_property
    def qk(self) -> Tensor:
        """The part of the logits that the particles give, (B, H, P, P); 0 at padding."""
        return self._qk()

    @cached_property
    def described(self) -> Described:
        """What one look at each query's row tells, (B, H, P) each."""
        return describe(self.weights, self.logits, self.jets.n)

    @property
    def largest(self) -> Tensor:
        """Largest weight of each query, (B, H, P)."""
        return self.described.largest

    @property
    def key(self) -> Tensor:
        """Key of each query's largest weight, int64 (B, H, P)."""
        return self.described.key

    @cached_property
    def places(self) -> Tensor:
        """0, 1, ..., int64 (P,)."""
        return torch.arange(self.weights.shape[-1], device=self.weights.device)

    @cached_property
    def to_itself(self) -> Tensor:
        """Queries whose largest weight is on themselves, bool (B, H, P)."""
        return self.key == self.places

    @cached_property
    def queries(self) -> Tensor:
        """Real queries, float32 (B, H): the number of particles."""
        return self.jets.n.to(self.weights)[:, None].expand(self.weights.shape[:2])

    @cached_property
    def qk_alone(self) -> Described:
        """What the rows of `qk` tell, and the weights that they alone would make."""
        return alone(self.qk, self.jets)

    def over_queries(self, values: Tensor) -> Tensor:
        """Sum of (B, H, P) over the real queries, float32 (B, H)."""
        padding = self.jets.padding
        if padding is not None:
            values = values.masked_fill(padding, 0)
        return values.sum(-1, dtype=torch.float32)

    def at(self, values: Tensor, key: Tensor) -> Tensor:
        """The entry of (B, H, P, P) at each query's `key` (B, H, P)."""
        return values.gather(-1, key[..., None])[..., 0]


@dataclass(frozen=True)
class Shared:
    """What all layers of a batch have in common, worked out once: the pair bias, facts about the jets."""

    bias: Tensor
    jets: Jets
    _made: dict[Callable[[Jets], Any], Any] = field(default_factory=dict)

    def once(self, make: Callable[[Jets], T]) -> T:
        """What `make` gives of the jets, worked out for the first layer that asks."""
        if make not in self._made:
            self._made[make] = make(self.jets)
        return self._made[make]

    @cached_property
    def bias_alone(self) -> Described:
        """What the rows of the bias tell, and the weights that it alone would make."""
        return alone(self.bias, self.jets)


def alone(logits: Tensor, jets: Jets) -> Described:
    """What rows (B, H, P, P), 0 at padding, tell, and the weights that they would make as logits."""
    masked = logits if jets.padding is None else logits + without_padding(jets.real, logits)
    return describe(masked.softmax(-1), logits, jets.n)


class Statistic(NamedTuple):
    """A statistic, or several that are worked out together.

    measure : callable
        What it adds for the jets that are seen in a layer; the same ratios in the same order every time.
    every : int
        Only one jet in this many is looked at, chosen by the jets' keys.
    by_layer : bool
        False for what all layers share (the bias): it is asked in the first layer only.
    resamples : int, optional
        Of the bootstrap, where it is not that of the stream.
    """

    measure: Callable[[Seen], Sequence[Ratio]]
    every: int = 1
    by_layer: bool = True
    resamples: int | None = None


class Streamed(NamedTuple):
    """Sums by name of the statistic, and the largest residual (`softjet.attention.recording.Layer`)."""

    sums: dict[str, Sums]
    residual: float


def stream(
    model: ParticleTransformer,
    batches: Iterable[Jets],
    statistics: Mapping[str, Statistic],
    resamples: int,
    seed: int,
    bound: float,
    total: int = 0,
) -> Streamed:
    """Run a network over jets once and add up what the statistics see in every particle layer.

    Parameters
    ----------
    model : ParticleTransformer
        Run in evaluation mode and float32, and left as it was.
    batches : iterable of Jets
        By `softjet.attention.reading.JetReader`.
    statistics : mapping of str to Statistic
    resamples, seed : int
        Of the bootstrap over jets.
    bound : float
        Largest residual accepted (`softjet.attention.recording.Layer`), of one jet in CHECKED of each batch,
        in every layer.
    total : int
        Jets to come, for the progress shown.

    Raises
    ------
    ArithmeticError
        A residual is above the bound, or attention to a jet is not a number.
    InputError
        The jets are so few that a statistic saw none of them.
    """
    sums = {
        name: Sums(resamples if one.resamples is None else one.resamples, seed, one.by_layer)
        for name, one in statistics.items()
    }
    read, residual = _Reading(model, statistics, bound), 0.0
    with watching(model, read.see, CHECKED), Progress(total, "read attention", "jets") as progress:
        for gathered in side_by_side(read, batches, device_of_model(model)):
            for name, added in gathered.added.items():
                sums[name].add(*added)
            residual = max(residual, gathered.residual)
            progress.advance(gathered.jets)
    for name, one in sums.items():
        one.flush()
        if not one.jets.size:
            few = f"saw none of {total} jets, since it looks at one in {statistics[name].every}"
            more = "give more (attention.statistics_jets, or a larger test split)"
            raise InputError("attention", name, f"{few}; {more}")
    return Streamed(sums, residual)


class _Reading:
    """Runs the model over a batch and shows its layers to the statistics, in any number of threads."""

    def __init__(self, model: ParticleTransformer, statistics: Mapping[str, Statistic], bound: float) -> None:
        self.model, self.statistics, self.bound = model, statistics, bound
        self._own = threading.local()

    @torch.inference_mode()
    def __call__(self, jets: Jets) -> "_Gathered":
        """What the statistics add for a batch."""
        watch = _Watch(self.statistics, self.bound, jets.to(device_of_model(self.model)))
        self._own.watch = watch
        self.model(watch.jets.features, watch.jets.vectors, watch.jets.mask)
        return watch.gathered()

    def see(self, name: str, layer: Layer) -> None:
        """Show a layer to whoever watches in this thread."""
        self._own.watch.see(name, layer)


class _Gathered(NamedTuple):
    """What `Sums.add` is to be given of a batch, by statistic; nothing that is as large as attention."""

    added: dict[str, tuple[Any, ...]]
    jets: int
    residual: float


class _Watch:
    """Shows the layers of a batch to the statistics while the model runs."""

    def __init__(self, statistics: Mapping[str, Statistic], bound: float, jets: Jets) -> None:
        self.jets, self.bound, self.residual, self.layer = jets, bound, 0.0, 0
        self.shared: Shared | None = None
        self.samples = {every: _Sample(jets, every) for every in {one.every for one in statistics.values()}}
        self.statistics = statistics
        self.layers: dict[str, list[Sequence[Ratio]]] = {name: [] for name in statistics}

    def see(self, name: str, layer: Layer) -> None:
        """Check a layer and, of the particle layers, show it to the statistics."""
        if not layer.finite.all():
            raise _no_number(name, self.jets, int(layer.finite.int().argmin()))
        residual = float(layer.residual.max())
        check_residual(name, residual, self.bound)
        self.residual = max(self.residual, residual)
        if layer.bias is None:
            return
        self.shared = self.shared or Shared(layer.bias, self.jets)
        seen = Seen(
            self.layer, layer.weights, layer.logits, layer.bias, self.jets, self.shared, lambda: layer.qk
        )
        parts = {every: sample.part(seen) for every, sample in self.samples.items() if len(sample.places)}
        for which, statistic in self.statistics.items():
            if statistic.every in parts and (statistic.by_layer or self.layer == 0):
                self.layers[which].append(statistic.measure(parts[statistic.every]))
        self.layer += 1

    def gathered(self) -> _Gathered:
        """What all layers gave."""
        added = {
            name: self.samples[self.statistics[name].every].added(layers)
            for name, layers in self.layers.items()
            if layers
        }
        return _Gathered(added, len(self.jets), self.residual)


def _no_number(layer: str, jets: Jets, place: int) -> ArithmeticError:
    source, entry = (jets.table[column][place].as_py() for column in ("source", "entry"))
    advice = "look at the particles of this jet, or convert its file again"
    return ArithmeticError(f"attention of {layer} to entry {entry} of {source} is no number; {advice}")


class _Sample:
    """The jets of a batch that statistics look at which look at one in so many."""

    def __init__(self, jets: Jets, every: int) -> None:
        self.places = np.flatnonzero(chosen(jets.key, every))
        self.jets = jets.take(self.places) if len(self.places) < len(jets) else jets
        self.shared: Shared | None = None

    def part(self, seen: Seen) -> Seen:
        """The same of these jets."""
        if self.jets is seen.jets:
            return seen
        rows = torch.from_numpy(self.places).to(seen.weights.device)
        parts = {name: getattr(seen, name)[rows] for name in ("weights", "logits", "bias")}
        self.shared = self.shared or Shared(parts["bias"], self.jets)
        return replace(seen, **parts, jets=self.jets, shared=self.shared, _qk=lambda: seen.qk[rows])

    def added(self, layers: list[Sequence[Ratio]]) -> tuple[Any, ...]:
        """What `Sums.add` is to be given."""
        jets = self.jets
        return layers, jets.key, jets.label, jets.n.cpu().numpy(), jets.classes
