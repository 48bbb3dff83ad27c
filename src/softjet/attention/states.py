"""What a network holds of each jet: pooled states by depth, and summaries of its attention.

Beside them stand what the inputs say without any network, and the jet's traditional observables.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from softjet.attention.observables import observables, simple_inputs
from softjet.attention.reading import JetReader, Jets
from softjet.attention.recording import Layer, check_residual, watching
from softjet.attention.summaries import summaries_of
from softjet.config.observables import Observables
from softjet.device import device_of_model
from softjet.part.model import ParticleTransformer
from softjet.progress import Progress

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Held:
    """What a network holds of J jets.

    states : (J, D, W), depth by depth: particle states pooled (mean over real particles) after the embedding
        and after each of L particle layers, and last the class token as the classifier reads it; D = L + 2.
    summaries : (J, S, L), attention summaries in the order of `softjet.attention.summaries.SUMMARIES`.
    residual : (J,), largest residual (`softjet.attention.recording.Layer`) over all layers.
    """

    states: NDArray[np.float32]
    summaries: NDArray[np.float32]
    residual: NDArray[np.float32]


@dataclass(frozen=True)
class Readings:
    """What is read of J jets.

    observables : (J, O), in the order of `softjet.attention.observables.OBSERVABLES`; NaN where
        the jet has none, as tau21 at tau1 = 0.
    inputs : (J, 2F + 2), mean and sum of each feature over real particles, multiplicity, and pT in GeV.
    label, key : (J,), class, and key of `softjet.attention.reading.Jets`.
    networks : what each network holds.
    """

    observables: Floats
    inputs: Floats
    label: NDArray[np.int64]
    key: NDArray[np.uint64]
    networks: dict[str, Held]

    @property
    def residual(self) -> float:
        """Largest residual of all networks, jets and layers."""
        return max(float(held.residual.max()) for held in self.networks.values())

    def defined(self) -> "Readings":
        """The jets that have every observable."""
        kept = np.isfinite(self.observables).all(1)
        networks = {
            name: Held(*(getattr(held, field.name)[kept] for field in fields(Held)))
            for name, held in self.networks.items()
        }
        return Readings(self.observables[kept], self.inputs[kept], self.label[kept], self.key[kept], networks)


def read(
    models: Mapping[str, ParticleTransformer],
    reader: JetReader,
    settings: Observables,
) -> Readings:
    """Run networks over the same jets and keep what `Readings` names: some kilobytes a jet.

    Parameters
    ----------
    models : mapping of str to ParticleTransformer
        Networks of one shape, by name. Run in evaluation mode and float32, and left as they were.
    reader : JetReader
    settings : Observables
        Subjets, threshold, largest residual accepted.

    Raises
    ------
    ArithmeticError
        A residual (`softjet.attention.recording.Layer`) is above the bound.
    """
    parts: list[Readings] = []
    with Progress(reader.n_jets, "read states", "jets") as progress:
        for jets in reader:
            networks = {name: hold(model, jets, settings) for name, model in models.items()}
            inputs = simple_inputs(jets)
            parts.append(Readings(observables(jets.table), inputs, jets.label, jets.key, networks))
            progress.advance(len(jets))
    return _joined(parts)


def hold(model: ParticleTransformer, jets: Jets, settings: Observables) -> Held:
    """What a network holds of a batch.

    Parameters
    ----------
    model, jets, settings
        As of `read`; `jets` is one batch.
    """
    jets = jets.to(device_of_model(model))
    measure = summaries_of(jets, settings.subjets, settings.threshold)
    summaries: list[Tensor] = []
    residuals: list[Tensor] = []

    def see(name: str, layer: Layer) -> None:
        check_residual(name, float(layer.residual.max()), settings.residual)
        residuals.append(layer.residual)
        if layer.bias is not None:
            summaries.append(measure(layer.weights))

    with watching(model, see), pooling(model, jets.real) as states:
        model(jets.features, jets.vectors, jets.mask)
    found = (torch.stack(states, 1), torch.stack(summaries, 2), torch.stack(residuals).amax(0))
    return Held(*(part.cpu().numpy() for part in found))


@contextmanager
def pooling(model: ParticleTransformer, real: Tensor) -> Iterator[list[Tensor]]:
    """Gather pooled states, embedding first and class token last, of the one call within the block.

    Parameters
    ----------
    model : ParticleTransformer
    real : (B, P) bool
        Real particles of the batch.

    Yields
    ------
    list of Tensor
        After the call L + 2 states (B, W), as `Held` has them.
    """
    states: list[Tensor] = []

    def pool(_module: Any, _args: Any, output: Tensor) -> None:
        states.append(output.masked_fill(~real[..., None], 0).sum(1) / real.sum(1)[:, None])

    def token(_module: Any, _args: Any, output: Tensor) -> None:
        states.append(output)

    with ExitStack() as hooks:
        for module in (model.embed, *model.blocks):
            hooks.callback(module.register_forward_hook(pool).remove)
        hooks.callback(model.norm.register_forward_hook(token).remove)
        yield states


def _joined(parts: list[Readings]) -> Readings:
    """Batches end to end."""
    networks = {
        name: Held(
            *(np.concatenate([getattr(p.networks[name], f.name) for p in parts]) for f in fields(Held))
        )
        for name in parts[0].networks
    }
    names = ("observables", "inputs", "label", "key")
    known = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Readings(networks=networks, **known)
