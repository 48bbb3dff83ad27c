"""Attention and states of several Particle Transformers of one shape on the same jets, batch by batch.

Each batch is read by all models in turn, so that what is compared between two of them, query by query, needs
no attention kept beyond the batch.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from softjet.attention.observables import observables
from softjet.attention.reading import JetReader, Jets
from softjet.attention.recording import Layer, check_residual, watching
from softjet.attention.states import Held, Readings, pooling
from softjet.config.joined import Joined
from softjet.device import device_of_model
from softjet.part.model import ParticleTransformer
from softjet.progress import Progress

Floats = NDArray[np.float32]
Name = TypeVar("Name", bound=Hashable)

SHARED = ("agreement", "agreement_by_draws")
"""What two models have in common; `in_common` says what each is."""


@dataclass(frozen=True)
class Sample:
    """What several models make of the same J jets.

    Attributes
    ----------
    label, key, n : (J,)
        Class, key of `softjet.attention.reading.Jets`, and particles.
    observables : (J, O)
        In the order of `softjet.attention.observables.OBSERVABLES`; NaN where the jet has none.
    states : dict of str to (J, L + 2, W)
        Of each model, as in `softjet.attention.states.Held`.
    sharpness : dict of str to (J, T + 1, L, H)
        Of each model, sums over a jet's queries: how many have a largest weight above each threshold, and
        exp(entropy).
    common : dict of (str, str) to (J, 2, L, H)
        Of pairs of models, sums over a jet's queries in the order of `SHARED`.
    """

    label: NDArray[np.int64]
    key: NDArray[np.uint64]
    n: NDArray[np.int64]
    observables: NDArray[np.float64]
    states: dict[str, Floats]
    sharpness: dict[str, Floats]
    common: dict[tuple[str, str], Floats]

    def readings(self) -> Readings:
        """The same for `softjet.attention.probes`, without simple inputs and summaries."""
        jets = len(self.label)
        networks = {
            name: Held(states, np.zeros((jets, 0, 0), np.float32), np.zeros(jets, np.float32))
            for name, states in self.states.items()
        }
        return Readings(self.observables, np.zeros((jets, 0)), self.label, self.key, networks)


class _Look(NamedTuple):
    """Weights of each particle layer, (B, H, P, P), and pooled states, (B, L + 2, W), of one model."""

    weights: list[Tensor]
    states: Tensor


def compare_attention(
    models: Mapping[str, ParticleTransformer],
    pairs: Iterable[tuple[str, str]],
    reader: JetReader,
    settings: Joined,
) -> Sample:
    """Read the same jets with all models.

    Parameters
    ----------
    models : mapping of str to ParticleTransformer
        Of one shape, whatever the ranks of their matrices; run in evaluation mode and float32.
    pairs : iterable of (str, str)
        Models that are compared query by query. Memory holds, for a batch, the attention of each second one.
    reader : JetReader
    settings : Joined
        Thresholds, and the largest residual accepted.

    Raises
    ------
    ArithmeticError
        A residual (`softjet.attention.recording.Layer`) is above the bound.
    """
    compared = tuple(pairs)
    parts = []
    with Progress(reader.n_jets, f"read attention of {len(models)} models", "jets") as progress:
        for jets in reader:
            parts.append(_compare_batch(models, compared, jets, settings))
            progress.advance(len(jets))
    return _joined(parts)


def read_states(models: Mapping[str, ParticleTransformer], reader: JetReader) -> Sample:
    """Read the states alone of the same jets with all models; parameters as of `compare_attention`."""
    parts = []
    with Progress(reader.n_jets, f"read states of {len(models)} models", "jets") as progress:
        for jets in reader:
            states = {name: _states(model, jets) for name, model in models.items()}
            parts.append(_sample(jets, states, {}, {}))
            progress.advance(len(jets))
    return _joined(parts)


def sharpness(weights: Sequence[Tensor], real: Tensor, thresholds: Sequence[float]) -> Tensor:
    """Sums over real queries: largest weights above each threshold, and exp(entropy); (B, T + 1, L, H).

    Parameters
    ----------
    weights : sequence of (B, H, P, P)
        By layer; rows are queries; 0 where query or key is padding.
    real : (B, P) bool
    thresholds : sequence of float
    """
    layers = []
    for layer in weights:
        largest = layer.amax(-1)
        kinds = [(largest > threshold).to(layer) for threshold in thresholds]
        kinds.append(torch.special.entr(layer).sum(-1).exp())
        layers.append(torch.stack([_over_queries(kind, real) for kind in kinds], 1))
    return torch.stack(layers, 2)


def in_common(weights: Sequence[Tensor], others: Sequence[Tensor], real: Tensor) -> Tensor:
    """What the attention of two models has in common, sums over real queries, (B, 2, L, H).

    agreement: the largest weight is on the same key. agreement_by_draws: the probability that a key drawn
    from the weights of one model is the key drawn, independently, from those of the other; that is what two
    models give whose weights are alike and whose choices have nothing else in common.

    Parameters
    ----------
    weights, others : sequences of (B, H, P, P)
        By layer; rows are queries; 0 where query or key is padding.
    real : (B, P) bool
    """
    layers = []
    for one, other in zip(weights, others, strict=True):
        same = (one.argmax(-1) == other.argmax(-1)).to(one)
        layers.append(torch.stack([_over_queries(same, real), _over_queries((one * other).sum(-1), real)], 1))
    return torch.stack(layers, 2)


def _over_queries(values: Tensor, real: Tensor) -> Tensor:
    """Sum of (B, H, P) over real queries, (B, H)."""
    return values.masked_fill(~real[:, None], 0).sum(-1)


def _compare_batch(
    models: Mapping[str, ParticleTransformer],
    pairs: Sequence[tuple[str, str]],
    jets: Jets,
    settings: Joined,
) -> Sample:
    kept = {
        name: _look(model, jets, settings.residual)
        for name, model in models.items()
        if any(name == second for _, second in pairs)
    }
    states, sharp, common = {}, {}, {}
    for name, model in models.items():
        seen = kept[name] if name in kept else _look(model, jets, settings.residual)
        real = jets.real.to(seen.states.device)
        states[name] = seen.states
        sharp[name] = sharpness(seen.weights, real, settings.thresholds)
        for pair in pairs:
            if pair[0] == name:
                common[pair] = in_common(seen.weights, kept[pair[1]].weights, real)
    return _sample(jets, states, sharp, common)


def _look(model: ParticleTransformer, jets: Jets, bound: float) -> _Look:
    weights: list[Tensor] = []

    def see(name: str, layer: Layer) -> None:
        check_residual(name, float(layer.residual.max()), bound)
        if layer.bias is not None:
            weights.append(layer.weights)

    jets = jets.to(device_of_model(model))
    with watching(model, see), pooling(model, jets.real) as states:
        model(jets.features, jets.vectors, jets.mask)
    return _Look(weights, torch.stack(states, 1))


@torch.inference_mode()
def _states(model: ParticleTransformer, jets: Jets) -> Tensor:
    jets = jets.to(device_of_model(model))
    with pooling(model.eval(), jets.real) as states:
        model(jets.features, jets.vectors, jets.mask)
    return torch.stack(states, 1)


def _sample(
    jets: Jets,
    states: Mapping[str, Tensor],
    sharp: Mapping[str, Tensor],
    common: Mapping[tuple[str, str], Tensor],
) -> Sample:
    return Sample(
        label=jets.label,
        key=jets.key,
        n=jets.n.cpu().numpy(),
        observables=observables(jets.table),
        states=_arrays(states),
        sharpness=_arrays(sharp),
        common=_arrays(common),
    )


def _arrays(tensors: Mapping[Name, Tensor]) -> dict[Name, Floats]:
    return {name: tensor.cpu().numpy() for name, tensor in tensors.items()}


def _joined(parts: Sequence[Sample]) -> Sample:
    """Batches end to end."""
    return Sample(*(_end_to_end([getattr(part, field.name) for part in parts]) for field in fields(Sample)))


def _end_to_end(values: Sequence[Any]) -> Any:
    if isinstance(values[0], dict):
        return {name: np.concatenate([part[name] for part in values]) for name in values[0]}
    return np.concatenate(values)
