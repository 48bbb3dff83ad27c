"""The least that a call has to do: its matrix products and what it reads."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten

_FURTHER = {
    aten._scaled_dot_product_flash_attention_for_cpu: flop_registry[aten._scaled_dot_product_flash_attention],
    aten._scaled_dot_product_flash_attention_for_cpu_backward: flop_registry[
        aten._scaled_dot_product_flash_attention_backward
    ],
}
"""FLOPs by operation. PyTorch counts attention by the operations of a graphics card alone."""


PRECISIONS = ("float32", "bfloat16")
"""What always has a column, though no product be of it."""


def _formula(operation: Any) -> Callable[..., Any] | None:
    """FLOPs of an operation, one that was registered after this module was loaded too."""
    return _FURTHER.get(operation) or flop_registry.get(operation)


class Work(NamedTuple):
    """FLOPs of a call's matrix products by precision ("float32"), and bytes read that were there before."""

    flops: dict[str, float]
    read: float

    @property
    def total(self) -> float:
        """FLOPs of all precisions."""
        return sum(self.flops.values())

    def columns(self) -> dict[str, float]:
        """As columns of a table: flops_float32, flops_bfloat16 (and others that there are), bytes_read."""
        names = dict.fromkeys((*PRECISIONS, *self.flops))
        return {f"flops_{name}": self.flops.get(name, 0.0) for name in names} | {"bytes_read": self.read}


def work_of(call: Callable[[], object], calls: int = 1) -> Work:
    """Count the work of a call while it runs.

    A multiplication and an addition are two FLOPs; matrix products, convolutions and attention count
    (PyTorch's `torch.utils.flop_counter`), element by element work does not. Each tensor that is read counts
    once a call, however often it is; of embeddings, of which few rows are read, none does.

    PyTorch's own FlopCounterMode tells modules apart too, and fails where weights have gradients and nothing
    is differentiated.

    Parameters
    ----------
    call : callable
        May differentiate.
    calls : int
        Calls that are made; their mean is given.
    """
    works = [_counted(call) for _ in range(calls)]
    flops: Counter[str] = Counter()
    for work in works:
        flops.update(work.flops)
    mean = {precision: total / calls for precision, total in flops.items()}
    return Work(mean, sum(work.read for work in works) / calls)


def _counted(call: Callable[[], object]) -> "_Counting":
    with _Counting() as counting:
        call()
    return counting


class _Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.flops: Counter[str] = Counter()
        self._read: dict[int, int] = {}
        self._made: set[int] = set()

    @property
    def read(self) -> int:
        """Bytes of all that was there before and was read."""
        return sum(self._read.values())

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        formula = _formula(func._overloadpacket)
        if formula is None:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        given, made = _storages((args, kwargs)), _storages(result)
        if not func.is_view and func._overloadpacket is not aten.embedding:
            self._read |= {place: size for place, size in given.items() if place not in self._made}
        self._made |= made.keys() - given.keys()
        if formula is not None:
            self.flops[_precision(func, args, result)] += formula(*args, **kwargs, out_val=result)
        return result


def _storages(values: Any) -> dict[int, int]:
    """Bytes of each piece of memory that tensors stand in, by its address."""
    pieces = [tensor.untyped_storage() for tensor in _tensors(values)]
    return {piece.data_ptr(): piece.nbytes() for piece in pieces}


def _precision(operation: Any, given: Sequence[Any], result: Any) -> str:
    """Of an operation's products: that of its narrowest numbers, unless an argument `bfloat16` tells."""
    names = (argument.name for argument in operation._schema.arguments)
    if dict(zip(names, given, strict=False)).get("bfloat16"):
        return "bfloat16"
    kinds = [tensor.dtype for tensor in _tensors((given, result)) if tensor.is_floating_point()]
    return str(min(kinds, key=lambda kind: kind.itemsize)).removeprefix("torch.")


def _tensors(values: Any) -> list[Tensor]:
    leaves = tree_leaves(values)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.layout == torch.strided]
