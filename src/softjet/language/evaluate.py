"""What a model says about each example, or each window, of a task."""

from collections.abc import Iterator
from typing import Protocol

import pandas as pd
import torch
from torch import Tensor, nn

from softjet.language.batch import NOT_SCORED, Batch
from softjet.language.losses import answer, token_losses
from softjet.progress import Progress


class Evaluation(Protocol):
    """A loader of :mod:`softjet.language.batches`."""

    @property
    def evaluated(self) -> int:
        """Examples, or windows, in all."""

    def evaluation(self) -> Iterator[Batch]:
        """Each example, or window, once."""


def examples_table(model: nn.Module, loader: Evaluation) -> pd.DataFrame:
    """Evaluate a model; it is left in evaluation mode.

    Parameters
    ----------
    model : nn.Module
        As transformers'.
    loader : Evaluation
        Gives the batches.

    Returns
    -------
    DataFrame
        In the order of the file. Of sentences: example, label, logit_0, logit_1, ... (float32). Of text:
        window, tokens (scored), nll (their negative log-likelihood summed in float64, nats).
    """
    model.eval()
    parts = []
    with torch.inference_mode(), Progress(loader.evaluated, "evaluate", "examples") as progress:
        for batch in loader.evaluation():
            parts.append(_sentences(model, batch) if batch.labels.dim() == 1 else _windows(model, batch))
            progress.advance(len(batch.rows))
    table = pd.concat(parts)
    return table.sort_values(table.columns[0], ignore_index=True)


def _sentences(model: nn.Module, batch: Batch) -> pd.DataFrame:
    logits = answer(model, batch).cpu().numpy()
    columns = {f"logit_{place}": logits[:, place] for place in range(logits.shape[1])}
    return pd.DataFrame({"example": batch.rows.numpy(), "label": batch.labels.numpy(), **columns})


def _windows(model: nn.Module, batch: Batch) -> pd.DataFrame:
    nll: Tensor = token_losses(model, batch).double().sum(1)
    tokens = (batch.labels[:, 1:] != NOT_SCORED).sum(1)
    return pd.DataFrame({"window": batch.rows.numpy(), "tokens": tokens.numpy(), "nll": nll.cpu().numpy()})
