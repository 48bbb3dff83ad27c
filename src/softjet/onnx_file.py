"""A torch module as an ONNX file."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from softjet.provenance.files import whole_file

OPSET = 20


def write_onnx(
    model: nn.Module,
    example: Mapping[str, Tensor],
    axes: tuple[Any, ...],
    outputs: Sequence[str],
    path: str | Path,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a module as it evaluates, whole or not at all, in operator set 20.

    Parameters
    ----------
    model : nn.Module
        Takes the inputs in their order; left in evaluation mode.
    example : mapping
        An input by each name; what it computes is traced.
    axes : tuple
        Names of the axes whose length is free, by their number, for each argument of `model.forward`; a tuple
        of such for an argument that gathers several inputs.
    outputs : sequence of str
        Names of the outputs.
    path : path
        The `.onnx` file.
    metadata : mapping, optional
        Entries of the file's metadata.
    """
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model.eval(), tuple(example.values()), dynamo=True, verbose=False, opset_version=OPSET,
            input_names=list(example), output_names=list(outputs), dynamic_shapes=axes,
        )  # fmt: skip
    assert program is not None
    program.model.metadata_props.update(metadata or {})
    with whole_file(path) as partial:
        program.save(partial, external_data=False)
