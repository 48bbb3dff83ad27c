"""Training of the pair embedding as compiled passes over its rows, one a linear layer and direction."""

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

from softjet.errors import InputError
from softjet.part.compiling import check_tensor, compiled
from softjet.part.norm import BatchRenorm1d
from softjet.part.pairs import N_PAIR_FEATURES, PairEmbedding

LANES = 16
"""Numbers of a vector; the last layer is padded to as many heads."""

WIDEST = 128
"""Of a hidden layer."""

BLOCK = 48
"""Rows that `pairs_training.c` takes at a time."""

SOME = 1024
"""Rows whose mean the features are taken about."""

WHERE = "compiled pair embedding"


class Layer(NamedTuple):
    """Parameters of a linear layer and of the normalisation behind it, or gradients of these."""

    matrix: Tensor
    bias: Tensor
    weight: Tensor
    shift: Tensor


class Norm(NamedTuple):
    """What a normalisation was on a batch, float64, shape (width,) each.

    Parameters
    ----------
    mean, inverse : Tensor
        Of the batch, and 1 over its deviation.
    usual, deviation : Tensor
        By which it normalised: the running averages, this batch among them.
    """

    mean: Tensor
    inverse: Tensor
    usual: Tensor
    deviation: Tensor

    def affine(self, layer: Layer) -> tuple[Tensor, Tensor]:
        """Scale and shift by which it acts behind a layer."""
        scale = layer.weight / self.deviation
        return scale, layer.shift - self.usual * scale

    def own(self) -> Tensor:
        """Scale and shift that bring the batch to mean 0 and variance 1."""
        return _floats(self.inverse, -self.mean * self.inverse)


class CompiledPairEmbedding:
    """A `PairEmbedding` whose training is compiled for this processor when this is made.

    For a processor with AVX-512 (bfloat16: AVX512-BF16) and a C compiler, `cc` or that of the variable CC.
    Parameters and running averages are the module's own. In bfloat16 what is multiplied is rounded, and what
    waits between two passes; sums, statistics, norms and GELU are float32. Biases that a normalisation
    cancels, those of the linear layers and of the first normalisation, have a gradient of exactly 0. In
    evaluation the module answers itself.

    Parameters
    ----------
    embedding : PairEmbedding
        With BatchRenorm1d, hidden layers a multiple of 16 and 128 at most wide, and 16 heads at most.
    dtype : torch.dtype
        float32 or bfloat16: of products and of the result.

    Raises
    ------
    InputError
        An embedding, a precision or a processor that this is not made for; no compiler.
    """

    def __init__(self, embedding: PairEmbedding, dtype: torch.dtype) -> None:
        if dtype not in (torch.float32, torch.bfloat16):
            raise InputError("precision", str(dtype).removeprefix("torch."), "give float32 or bfloat16")
        self.embedding, self.dtype, self.norms = embedding, dtype, _norms(embedding)
        *_, layers = _unpacked(list(embedding.parameters()))
        for layer in layers[1:]:
            _library(layer, dtype)

    def __call__(self, rows: Tensor) -> Tensor:
        """Embed pairs.

        Parameters
        ----------
        rows : Tensor, shape (n, 4)
            Pair features.

        Returns
        -------
        Tensor, shape (n, H), of type `dtype`

        Raises
        ------
        InputError
            Rows that are none, are of another shape or on another device, or want a gradient.
        """
        if not all(norm.training for norm in self.norms):
            return self.embedding(rows).to(self.dtype)
        if rows.requires_grad:
            raise InputError(WHERE, "rows", "want a gradient, which it does not give; detach them")
        out = _Embedded.apply(rows.float().contiguous(), self, *self.embedding.parameters())
        for norm in self.norms:
            _present(norm.num_batches_tracked).add_(1)
        return out

    def shares(self) -> list[float]:
        """Weight of the next batch in the running averages of each normalisation."""
        counts = (int(_present(norm.num_batches_tracked)) + 1 for norm in self.norms)
        return [max(norm.momentum or 0.0, 1 / n) for norm, n in zip(self.norms, counts, strict=True)]

    def running(self) -> list[Tensor]:
        """Running mean and variance of each normalisation in turn."""
        return [_present(of) for norm in self.norms for of in (norm.running_mean, norm.running_var)]


def _present(buffer: Tensor | None) -> Tensor:
    assert buffer is not None
    return buffer


def _norms(embedding: PairEmbedding) -> list[BatchRenorm1d]:
    """Normalisations of an embedding; raise where a layer is not what `pairs_training.c` is for."""
    layers = list(embedding)
    norms = [norm for norm in (layers[0], *layers[2::3]) if type(norm) is BatchRenorm1d]
    if len(norms) != 1 + len(layers) // 3:
        raise InputError(WHERE, "model", "has other normalisations than BatchRenorm1d; take the module")
    if any(type(linear) is not nn.Linear or linear.bias is None for linear in layers[1::3]):
        raise InputError(WHERE, "model", "has other layers than nn.Linear with biases; take the module")
    return norms


class _Embedded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, of: CompiledPairEmbedding, *parameters: Tensor) -> Tensor:
        epsilons = [norm.eps for norm in of.norms]
        out, *kept = pair_embedding(rows, parameters, of.running(), of.shares(), epsilons, of.dtype)
        ctx.save_for_backward(rows, *parameters, *kept)
        ctx.n_parameters = len(parameters)
        return out

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        rows, *saved = ctx.saved_tensors
        parameters, kept = saved[: ctx.n_parameters], saved[ctx.n_parameters :]
        return None, None, *pair_embedding_backward(upstream.contiguous(), rows, parameters, kept)


@torch.library.custom_op("softjet::pair_embedding", mutates_args=("running",))
def pair_embedding(
    rows: Tensor,
    parameters: Sequence[Tensor],
    running: Sequence[Tensor],
    shares: Sequence[float],
    epsilons: Sequence[float],
    dtype: torch.dtype,
) -> list[Tensor]:
    """Embed pairs in training.

    Parameters
    ----------
    rows : Tensor, float32, shape (n, 4)
        Pair features.
    parameters : sequence of Tensor
        Of a `PairEmbedding`, in its order.
    running : sequence of Tensor
        Running mean and variance of each normalisation, which take the batch in.
    shares, epsilons : sequence of float
        Weight of the batch in these, and what is added to a variance.
    dtype : torch.dtype
        Of products and of the result.

    Returns
    -------
    list of Tensor
        The embedding (n, H), and what the backward pass needs: covariance of the features, each
        normalisation (4, width), and what each linear layer but the first has left.

    Raises
    ------
    InputError
        Shapes that do not fit together, or no rows.
    """
    passes = _Passes(rows, parameters, dtype)
    for place, (share, epsilon) in enumerate(zip(shares, epsilons, strict=True)):
        passes.follow(passes.moments(place), running[2 * place : 2 * place + 2], share, epsilon)
    return [passes.out(), passes.covariance, *map(torch.stack, passes.norms), *passes.left]


@torch.library.custom_op("softjet::pair_embedding_backward", mutates_args=())
def pair_embedding_backward(
    upstream: Tensor, rows: Tensor, parameters: Sequence[Tensor], kept: Sequence[Tensor]
) -> list[Tensor]:
    """Gradients of the parameters of a pair embedding.

    Parameters
    ----------
    upstream : Tensor, shape (n, H)
        Gradient of the embedding.
    rows, parameters, kept : Tensor and sequences of Tensor
        As given to `pair_embedding`, and as it gives them.

    Returns
    -------
    list of Tensor
        In the order of the parameters.

    Raises
    ------
    InputError
        Shapes that do not fit together.
    """
    passes = _Passes(rows, parameters, upstream.dtype)
    passes.resume(kept)
    check_tensor(WHERE, "upstream", upstream, passes.dtype, (len(rows), passes.heads))
    found = passes.backward(upstream.contiguous())
    return [gradient[: len(like)].to(like.dtype) for gradient, like in zip(found, parameters, strict=True)]


class _Passes:
    """A batch on its way; the last of the layers is padded to the width of a vector."""

    def __init__(self, rows: Tensor, parameters: Sequence[Tensor], dtype: torch.dtype) -> None:
        check_tensor(WHERE, "rows", rows, torch.float32, (max(1, len(rows)), N_PAIR_FEATURES))
        self.rows, self.dtype, self.heads = rows.contiguous(), dtype, len(parameters[-1])
        self.threads = min(torch.get_num_threads(), -(-len(rows) // BLOCK))
        self.weight, self.shift, self.layers = _unpacked(parameters)
        self.norms: list[Norm] = []
        self.left: list[Tensor] = []
        self.covariance = rows.new_empty(0)

    def resume(self, kept: Sequence[Tensor]) -> None:
        """Take up what the forward pass has kept."""
        self.covariance, *rest = kept
        n_norms = 1 + len(self.layers)
        self.norms = [Norm(*norm.unbind()) for norm in rest[:n_norms]]
        self.left = rest[n_norms:]
        for left, layer in zip(self.left, self.layers[1:], strict=True):
            check_tensor(WHERE, "kept", left, self.dtype, (len(self.rows), len(layer.matrix)))
        widths = [N_PAIR_FEATURES, *(len(layer.matrix) for layer in self.layers)]
        for norm, width in zip(rest[:n_norms], widths, strict=True):
            check_tensor(WHERE, "kept", norm, torch.float64, (len(Norm._fields), width))

    def moments(self, place: int) -> tuple[Tensor, Tensor]:
        """Mean and variance of what a normalisation gets, which is computed for it."""
        if place == 0:
            return self._feature_moments()
        if place == 1:
            matrix, start = self.first()
            mean = matrix @ (self.norms[0].mean - self.norms[0].usual) + start
            return mean, ((matrix @ self.covariance) * matrix).sum(1).clamp(min=0)
        return self._forward(place - 1)

    def _feature_moments(self) -> tuple[Tensor, Tensor]:
        n, sums = len(self.rows), self._totals(1 + N_PAIR_FEATURES, LANES)
        around = self.rows[:SOME].mean(0)  # near the mean, so that sums of squares keep their digits
        self._run(self._library(1).sum_features, [self.rows, around], sums)
        total, *products = sums.sum(0).view(-1, LANES // N_PAIR_FEATURES, N_PAIR_FEATURES).sum(1)
        self.covariance = (torch.stack(products) - total[:, None] * total / n) / n
        return around + total / n, self.covariance.diagonal().clamp(min=0)

    def _forward(self, place: int) -> tuple[Tensor, Tensor]:
        """Take rows through the linear layer at a place; moments of what it leaves."""
        layer, n = self.layers[place], len(self.rows)
        left = self.rows.new_empty(n, len(layer.matrix), dtype=self.dtype)
        sums = self._totals(2, len(layer.matrix))
        given = [*self._source(place), _units(layer.matrix, self.dtype), _floats(layer.bias), left]
        self._run(self._library(place).forward, given, sums)
        self.left.append(left)
        mean, squares = sums.sum(0) / n
        return mean, (squares - mean.square()).clamp(min=0)

    def follow(
        self, own: tuple[Tensor, Tensor], running: Sequence[Tensor], share: float, epsilon: float
    ) -> None:
        """Take moments into running averages; the normalisation by these."""
        if len(self.rows) == 1:
            own = own[0], own[1] * torch.nan  # as of the module
        for average, of in zip(running, own, strict=True):
            average.lerp_(of[: len(average)].to(average.dtype), share)
        usual, variance = (_padded(average, len(own[0])).double() for average in running)
        self.norms.append(Norm(own[0], (own[1] + epsilon).rsqrt(), usual, (variance + epsilon).sqrt()))

    def first(self) -> tuple[Tensor, Tensor]:
        """Matrix and start that make the first layer's output of features less their usual mean."""
        layer = self.layers[0]
        matrix = layer.matrix.double()
        return matrix * (self.weight / self.norms[0].deviation), matrix @ self.shift.double() + layer.bias

    def _source(self, place: int) -> list[Tensor | None]:
        """What the pass of the linear layer at a place reads, in the order of `Source`."""
        norm = self.norms[place]
        scale, shift = norm.affine(self.layers[place - 1])
        if place > 1:
            return [None, None, self.left[place - 2], _floats(scale, shift), norm.own()]
        matrix, start = self.first()
        affine = _floats((scale[:, None] * matrix).t(), scale * start + shift)
        return [self.rows, _floats(self.norms[0].usual), None, affine, None]

    def out(self) -> Tensor:
        """The last normalisation and GELU."""
        out = self.rows.new_empty(len(self.rows), self.heads, dtype=self.dtype)
        affine = _floats(*self.norms[-1].affine(self.layers[-1]))
        self._run(self._library(1).forward_out, [self.left[-1], affine, self.heads, out])
        return out

    def backward(self, upstream: Tensor) -> list[Tensor]:
        """Gradients of all parameters, in their order."""
        left, norm, sums = self.left[-1], self.norms[-1], self._totals(2, LANES)
        behind = torch.empty_like(left)
        affine, own = _floats(*norm.affine(self.layers[-1])), norm.own()
        self._run(self._library(1).backward_out, [upstream, left, affine, own, self.heads, behind], sums)
        gradients: list[Tensor] = []
        total = sums.sum(0)
        for place in range(len(self.layers) - 1, 0, -1):
            of_norm, factors = self._norm_gradient(place, *total)
            of_matrix, behind, total = self._backward(place, behind, factors)
            gradients = [of_matrix, torch.zeros_like(self.layers[place].bias), *of_norm, *gradients]
        return [*self._first_gradient(*total), *gradients]

    def _norm_gradient(self, place: int, of_shift: Tensor, of_own: Tensor) -> tuple[list[Tensor], Tensor]:
        """Of weight and shift of the normalisation behind a layer, and the factors of `Above`.

        Given two sums over rows: of the gradient behind it, and of that times what the batch's own moments
        normalise.
        """
        norm, n = self.norms[place + 1], len(self.rows)
        of_weight = (of_own / norm.inverse + of_shift * (norm.mean - norm.usual)) / norm.deviation
        scale, _ = norm.affine(self.layers[place])
        of_linear = -scale * norm.inverse * of_own / n
        return [of_weight, of_shift], _floats(scale, of_linear, -scale * of_shift / n - of_linear * norm.mean)

    def _backward(self, place: int, behind: Tensor, factors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of the matrix at a place and behind the normalisation before it; sums of the latter.

        The latter is not kept for the features, and else in place if it fits: a block is read before it is
        written.
        """
        matrix, inner = self.layers[place].matrix, self.layers[place].matrix.shape[1]
        before = behind if behind.shape[1] == inner else behind.new_empty(len(behind), inner)
        of_matrix = self._totals(*matrix.shape, dtype=torch.float32)
        sums = self._totals(1 + N_PAIR_FEATURES if place == 1 else 2, inner)
        above, units = (behind, self.left[place - 1], factors), _units(matrix.t(), self.dtype)
        given = [*above, *self._source(place), units, before]
        self._run(self._library(place).backward, given, of_matrix, sums)
        return of_matrix.sum(0), before, sums.sum(0)

    def _first_gradient(self, of_shift: Tensor, *of_features: Tensor) -> list[Tensor]:
        """Of the first normalisation and layer: all is linear in the features, whose moments are known."""
        (features, norm), layer = self.norms[:2], self.layers[0]
        matrix, start = self.first()
        behind, offset = torch.stack(of_features, dim=1), features.mean - features.usual
        of_own = norm.inverse * ((behind * matrix).sum(1) + (start - norm.mean) * of_shift)
        of_norm, _ = self._norm_gradient(0, of_shift, of_own)
        scale, _ = norm.affine(layer)
        by_mean = of_shift[:, None] * offset
        by_variance = (of_own * norm.inverse)[:, None] * (matrix @ self.covariance)
        of_linear = scale[:, None] * (behind - by_mean - by_variance) / features.deviation
        none = torch.zeros_like(self.shift), torch.zeros_like(layer.bias)
        return [(layer.matrix * of_linear).sum(0), none[0], of_linear * self.weight, none[1], *of_norm]

    def _library(self, place: int) -> ctypes.CDLL:
        """Compiled for the linear layer at a place."""
        return _library(self.layers[place], self.dtype)

    def _totals(self, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Sums, for each thread its own."""
        return torch.zeros(self.threads, *shape, dtype=dtype)

    def _run(self, call: Any, given: Sequence[Tensor | int | None], *totals: Tensor) -> None:
        """Call a compiled function for a range of rows in each thread, with its own of the totals."""
        arguments = [_pointer(one) if isinstance(one, Tensor) else one for one in (*given, *totals)]
        place = len(given)
        call(*arguments[:place], ctypes.c_int64(len(self.rows)), self.threads, *arguments[place:])


def _pointer(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())


def _floats(*parts: Tensor) -> Tensor:
    """Parts end to end, as compiled functions read them."""
    return torch.cat([part.flatten() for part in parts]).float()


def _units(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """A matrix (N, K) as columns, neighbours of K together in 32 bits."""
    each = 4 // dtype.itemsize
    return matrix.to(dtype).unflatten(1, (-1, each)).transpose(0, 1).contiguous()


def _unpacked(parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor, list[Layer]]:
    """Weight and shift of the features, and the layers; raise where these are not what is compiled."""
    weight, shift, *rest = (parameter.detach() for parameter in parameters)
    layers = [Layer(*rest[i : i + len(Layer._fields)]) for i in range(0, len(rest), len(Layer._fields))]
    *hidden, heads = widths = [len(layer.matrix) for layer in layers]
    if not hidden or heads > LANES or any(width % LANES or width > WIDEST for width in hidden):
        made_for = f"multiples of {LANES} up to {WIDEST} with {LANES} heads at most behind them"
        raise InputError(WHERE, "model", f"has layers {widths} wide, not {made_for}; take the module")
    check_tensor(WHERE, "weight", weight, torch.float32, (N_PAIR_FEATURES,))
    check_tensor(WHERE, "shift", shift, torch.float32, (N_PAIR_FEATURES,))
    for inner, layer in zip((N_PAIR_FEATURES, *hidden), layers, strict=True):
        for name, one in zip(Layer._fields, layer, strict=True):
            shape = (len(layer.matrix), inner) if one is layer.matrix else (len(layer.matrix),)
            check_tensor(WHERE, name, one, torch.float32, shape)
    return weight, shift, [*layers[:-1], Layer(*(_padded(one, LANES) for one in layers[-1]))]


def _padded(tensor: Tensor, rows: int) -> Tensor:
    """With zeros behind its rows."""
    if len(tensor) == rows:
        return tensor
    return torch.cat((tensor, tensor.new_zeros(rows - len(tensor), *tensor.shape[1:])))


def _library(layer: Layer, dtype: torch.dtype) -> ctypes.CDLL:
    """`pairs_training.c` for a linear layer, compiled once a process."""
    outer, inner = layer.matrix.shape
    return compiled("pairs_training.c", dtype == torch.bfloat16, IN=inner, OUT=outer)


def _multiply_adds(parameters: Sequence[Tensor]) -> list[int]:
    """Of a row in each linear layer."""
    return [matrix.numel() for matrix in parameters[2 :: len(Layer._fields)]]


@register_flop_formula(torch.ops.softjet.pair_embedding, get_raw=True)
def _flops(*given: Any, **_: Any) -> int:
    """Of matrices, a multiplication and an addition two."""
    rows, parameters, *_rest = given
    return 2 * len(rows) * sum(_multiply_adds(parameters))


@register_flop_formula(torch.ops.softjet.pair_embedding_backward, get_raw=True)
def _flops_backward(*given: Any, **_: Any) -> int:
    """Of matrices and rows, but for those of the features."""
    _upstream, rows, parameters, *_rest = given
    first, *others = _multiply_adds(parameters)
    return 2 * len(rows) * (first + 2 * sum(others))
