"""A compressed model as an ONNX file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from softjet.onnx_file import write_onnx

OUTPUT = "logits"
AXES = ("batch", "length")


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


def export_onnx(model: nn.Module, inputs: Mapping[str, Tensor], path: str | Path) -> None:
    """Write a dense or fused model for ONNX runtimes, with free batch size and length.

    Parameters
    ----------
    model : nn.Module
        Called with the inputs by name; gives a tensor or an object with `logits`.
    inputs : mapping
        An example of each, shape (batch, length, ...), both at least 2: input_ids, attention_mask.
    path : path
        The `.onnx` file; its output is `logits`.
    """
    axes = tuple(dict(enumerate(AXES[: value.ndim])) for value in inputs.values())
    was_training = model.training
    write_onnx(Logits(model.eval(), list(inputs)), inputs, (axes,), [OUTPUT], path)
    model.train(was_training)
