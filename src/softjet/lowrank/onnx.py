"""A compressed model as an ONNX file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from softjet.config.lowrank import Selection
from softjet.errors import InputError, first_line
from softjet.onnx_file import write_onnx

OUTPUT = "logits"
AXES = ("batch", "length")
_ADVICE = "if it steps along its input, pass a selection with one_length, such as its entry in FAMILIES"


class Logits(nn.Module):
    """The logits of a model as a plain tensor.

    Parameters
    ----------
    model : nn.Module
        Gives a tensor, or an object with `logits`, as the models of transformers do.
    names : sequence of str
        Names of its arguments.
    """

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, tuple(names)
        # A cache of keys and values would be an output of its own.
        self.options = {"use_cache": False} if getattr(model, "generation_config", None) else {}

    def forward(self, *inputs: Tensor) -> Tensor:
        """Logits."""
        output = self.model(**dict(zip(self.names, inputs, strict=True)), **self.options)
        logits: Tensor = output if isinstance(output, Tensor) else output.logits
        return logits


def export_onnx(
    model: nn.Module, inputs: Mapping[str, Tensor], path: str | Path, selection: Selection | None = None
) -> None:
    """Write a dense or fused model for ONNX runtimes, with free batch size and, where it can be, free length.

    A model that goes through its input place by place (`one_length` in its family's entry: Mamba) is written
    as a graph of the example's length; a runtime refuses inputs of another one, so pad to it. The entry
    `length` of the file's metadata is that number, or `free`.

    Parameters
    ----------
    model : nn.Module
        Called with the inputs by name; gives a tensor or an object with `logits`.
    inputs : mapping
        An example of each, shape (batch, length, ...), both at least 2: input_ids, attention_mask.
    path : path
        The `.onnx` file; its output is `logits`.
    selection : Selection, optional
        The entry of the model's family in `softjet.config.families.FAMILIES`. Without it the length is free.

    Raises
    ------
    InputError
        No graph of free length can be made of the model.
    """
    fixed = selection is not None and selection.one_length
    free = AXES[: 1 if fixed else 2]
    axes = tuple(dict(enumerate(free[: value.ndim])) for value in inputs.values())
    length = str(next(iter(inputs.values())).shape[1]) if fixed else "free"
    was_training = model.training
    graph = Logits(model.eval(), list(inputs))
    try:
        write_onnx(graph, inputs, (axes,), [OUTPUT], path, {"length": length})
    except torch.onnx.OnnxExporterError as error:
        if fixed:
            raise
        problem = f"cannot be exported with a free length ({first_line(error.__cause__ or error)})"
        raise InputError("ONNX", type(model).__name__, f"{problem}; {_ADVICE}") from error
    finally:
        model.train(was_training)
