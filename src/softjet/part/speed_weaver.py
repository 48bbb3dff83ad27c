"""weaver-core's network and training beside ours: the same weights, and jets as it reads them."""

import logging
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from softjet.config.part import N_FEATURES, ParTModel, Training
from softjet.jets.batch import Batch
from softjet.part.feeding import training_step
from softjet.part.model import ParticleTransformer
from softjet.part.prediction import JetBatch
from softjet.part.weaver import export_weaver
from softjet.progress import Progress

Inputs = tuple[Tensor, Tensor, Tensor]
"""Features (B, F, P), vectors (B, 4, P) and mask (B, 1, P)."""


def weaver_network(model: ParticleTransformer) -> nn.Module:
    """Network of weaver-core with the weights of a model, as its configurations build it, in evaluation."""
    logging.getLogger("weaver").setLevel(logging.ERROR)
    from weaver.nn.model.ParticleTransformer import ParticleTransformer as Theirs

    shape = model.config
    network: nn.Module = Theirs(
        N_FEATURES[shape.features], shape.classes, embed_dims=list(shape.embed_dims),
        pair_embed_dims=list(shape.pair_embed_dims), num_heads=shape.heads, num_layers=shape.blocks,
        num_cls_layers=shape.class_blocks, use_pre_activation_pair=False, fc_params=[], version=1,
        trim=True,
    )  # fmt: skip
    network.load_state_dict(export_weaver(model))
    return network.eval()


def as_weaver_reads(batches: Iterable[JetBatch], shape: ParTModel, size: int, seed: int) -> list[Batch]:
    """The same jets in any order, padded to the most particles of a jet, in batches of a size."""
    parts = [
        [
            nn.functional.pad(tensor, (0, shape.max_particles - tensor.shape[-1]))
            for tensor in inputs_of(batch)
        ]
        + [batch.labels, batch.rows]
        for batch in batches
    ]
    whole = [torch.cat(tensors) for tensors in zip(*parts, strict=True)]
    order = torch.randperm(len(whole[0]), generator=torch.Generator().manual_seed(seed)).to(whole[0].device)
    return [Batch(*(tensor[rows] for tensor in whole)) for rows in order.split(size)]


def learning(
    network: nn.Module,
    config: Training,
    calls: Sequence[Sequence[JetBatch]],
    losses: list[float] | None = None,
    progress: Progress | None = None,
) -> Callable[[], None]:
    """A call that learns from the next jets, and notes their mean loss where it is told to."""
    step, remaining = training_step(network, config), iter(calls)

    # The clock runs where nothing is differentiated.
    @torch.inference_mode(False)
    @torch.enable_grad()
    def learn() -> None:
        batches = next(remaining)
        total = sum(step(batch) * len(batch.labels) for batch in batches)
        loss = total / sum(len(batch.labels) for batch in batches)
        if losses is not None:
            losses.append(loss)
        if progress is not None:
            progress.advance(note=f"loss {loss:.3f}")

    return learn


def as_it_comes(training: Training) -> Training:
    """A training in the precision in which weaver-core trains."""
    return training.model_copy(update={"precision": "float32"})


def inputs_of(batch: JetBatch) -> Inputs:
    """What a network is given of a batch."""
    return batch.features, batch.vectors, batch.mask


def one_by_one(network: Callable[..., Tensor], batches: Sequence[Inputs]) -> None:
    """Let a network answer batches, one after the other."""
    for inputs in batches:
        network(*inputs)
