"""Dense layers that can be factored: torch's linear layers and embedding tables, transformers' Conv1D."""

import sys
from collections.abc import Iterator

import torch
from torch import Tensor, nn


def is_conv1d(module: nn.Module) -> bool:
    """Whether this is transformers' Conv1D, the linear layer of GPT-2 whose weight is (in, out)."""
    # No model holds one unless transformers is loaded, which takes seconds.
    loaded = sys.modules.get("transformers.pytorch_utils")
    return loaded is not None and isinstance(module, loaded.Conv1D)


def is_linear(module: nn.Module) -> bool:
    """Whether this is a dense linear layer."""
    return isinstance(module, nn.Linear) or is_conv1d(module)


def is_dense(module: nn.Module) -> bool:
    """Whether this is a dense linear layer or an embedding table."""
    return is_linear(module) or isinstance(module, nn.Embedding)


def has_own_forward(module: nn.Module) -> bool:
    """Whether a dense layer is of a subclass that may compute something else, by its forward."""
    kind = nn.Embedding if isinstance(module, nn.Embedding) else nn.Linear
    if is_conv1d(module):
        kind = sys.modules["transformers.pytorch_utils"].Conv1D
    return isinstance(module, kind) and type(module).forward is not kind.forward


def dense_weight(module: nn.Module) -> Tensor:
    """Weight of a dense layer: (out, in) of a linear layer, (rows, width) of an embedding table."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight.T if is_conv1d(module) else weight


def dense_bias(module: nn.Module) -> nn.Parameter | None:
    """Offset of a dense linear layer."""
    bias = module.bias
    assert bias is None or isinstance(bias, nn.Parameter)
    return bias


def dense_linear(weight: nn.Parameter, bias: nn.Parameter | None, transposed: bool = False) -> nn.Module:
    """Make a linear layer of a weight: an nn.Linear (out, in) or, transposed, a Conv1D (in, out)."""
    with torch.device("meta"):
        linear = _conv1d(weight) if transposed else nn.Linear(weight.shape[1], len(weight), bias is not None)
    linear.register_parameter("weight", weight)
    linear.register_parameter("bias", bias)
    return linear


def _conv1d(weight: Tensor) -> nn.Module:
    conv1d: nn.Module = sys.modules["transformers.pytorch_utils"].Conv1D(*reversed(weight.shape))
    return conv1d


def sharers(model: nn.Module, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Dense layers of the model, by path, that have the very weight of this one; itself among them."""
    for path, other in model.named_modules(remove_duplicate=False):
        if is_dense(other) and other.weight is module.weight and is_conv1d(other) == is_conv1d(module):
            yield path, other
