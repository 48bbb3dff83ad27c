"""Sections of the configuration about learned ranks."""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, model_validator

from softjet.config.section import Computed, Section

Method = Literal[
    "soft-threshold", "svd", "energy-svd", "whitened-svd", "learned-mask", "whitened-soft-threshold",
    "fisher-soft-threshold", "fisher-svd", "dense",
]  # fmt: skip
"""How ranks come about: learned by soft thresholds or a mask, cut from a decomposition, or not at all.

What is whitened measures directions by what they carry to a layer's outputs, rather than by the weights; what
is of Fisher by what dropping them costs the loss.
"""

Form = Literal["pair", "pivot"]
"""A low-rank matrix as two factors, or as some of its columns and what the others are of them."""

LEARNED: tuple[Method, ...] = (
    "soft-threshold", "whitened-soft-threshold", "fisher-soft-threshold", "learned-mask",
)  # fmt: skip
"""Methods that learn ranks. The report is about the first of them that was run."""


def first_learned(methods: Iterable[str]) -> Method | None:
    """Of several methods the one that the report is about; None if none of them learns ranks.

    Parameters
    ----------
    methods : iterable of str
        In any order.
    """
    known = set(methods)
    return next((method for method in LEARNED if method in known), None)


class Matrices(Section):
    """Linear layers of one kind, named by their place in the model."""

    path: str
    """Path of the layers in the model; `*` stands for one component: blocks.*.attention.out_proj."""
    pieces: tuple[str, ...] = ()
    """Names of the equally high matrices packed in the layer along its outputs; each gets its own rank."""


class Selection(Section):
    """Which linear layers of a model get a rank, and what its blocks are."""

    matrices: tuple[Matrices, ...]
    """The linear layers; every path names at least one."""
    blocks: tuple[str, ...]
    """Paths of the lists of blocks; every selected layer lies in one of them."""
    shared: tuple[tuple[str, ...], ...] = ()
    """Paths of layers that have the same inputs, and could be one."""
    embeddings: tuple[str, ...] = ()
    """Paths of embedding tables that are factored too; an output layer tied to one follows it."""
    one_length: bool = False
    """The model goes through its input place by place, so that an exported graph is of one length."""
    dense: tuple[str, ...] = ()
    """Paths of modules (a layer, a block, a list of blocks) whose matrices get no rank all the same."""

    def leaving(self, dense: Iterable[str]) -> "Selection":
        """The selection with these modules dense."""
        return self.model_copy(update={"dense": (*self.dense, *dense)})


class Recipe(Computed):
    """How a model is trained while its ranks are learned and afterwards; the same for every method."""

    of: Literal["linears", "blocks", "total", "time"] = "total"
    """Keep ratios are of parameters (the compressed matrices', the blocks', all) or of measured `time`."""
    embeddings: bool = False
    """Factor the embedding tables too."""
    form: Form = "pair"
    """Store matrices as pairs of factors, or in pivot form: more rank in as many parameters, slower."""
    share_inputs: bool = False
    """One rank, and one first factor, for matrices of the same inputs: query, key and value; gate and up."""
    leave_dense: tuple[str, ...] = ()
    """Modules that stay dense, by path; `*` is one component: class_blocks, or blocks.0, blocks.*.expand."""
    learn_steps: int = Field(150, ge=1)
    """Most steps of the learning phase; it ends when the budget is met, and must meet it."""
    recover_steps: int = Field(150, ge=0)
    """Steps with fixed ranks, beside those that learning left over: every method takes the same total."""
    batch_size: int = Field(64, ge=1)
    """Examples a step."""
    learning_rate: float = Field(0.0002, gt=0)
    """Highest learning rate of weights while ranks are learned: it rises over a tenth of that and falls."""
    threshold_rate: float = Field(0.02, gt=0)
    """Learning rate of the thresholds, in units of each matrix's scale (docs/compress.md, the mechanism)."""
    recover_rate: float = Field(0.0005, gt=0)
    """Highest learning rate of the recovery phase: it rises over a tenth of it and falls to 0."""
    train: Literal["all", "spectrum"] = "all"
    """Train all weights, or singular values alone: for models whose optimiser would not fit in memory."""
    weight: float = Field(0.1, gt=0)
    """Weight of the compression term at the start."""
    pressure: float = Field(1e4, ge=1)
    """Factor by which that weight rises in the second half of the phase, if it gets there; 1 fixes it."""
    count_weighted: bool = False
    """Weigh a matrix's compression term by its number of parameters."""
    sharpness: float = Field(50.0, gt=0)
    """Steepness s of the soft threshold."""
    distillation: float = Field(0.0, ge=0, le=1)
    """Share of the loss that is the divergence from the dense model's answer; the rest is the task's."""
    imitation: float = Field(0.0, ge=0)
    """Weight, beside the loss, of the share of the dense blocks' variance that the blocks' outputs miss."""
    redecompose_every: int = Field(50, ge=1)
    """Steps of the learning phase between two fresh singular value decompositions."""
    calibration: int = Field(16, ge=1)
    """Batches whose activations whiten the matrices, for the methods that do so."""
    mask_weight: float = Field(1e-3, gt=0)
    """Weight of the L1 norm of the learned mask at the start."""
    mask_growth: float = Field(1.01, ge=1)
    """Factor by which that weight rises every four steps."""
    mask_rate: float = Field(0.05, gt=0)
    """Learning rate of the mask."""
    rank_multiple: int = Field(1, ge=1)
    """Ranks are rounded to multiples of this when they are fixed."""
    rank_floor: int = Field(8, ge=1)
    """No matrix falls below this rank."""
    save_every: float = Field(60.0, gt=0)
    """Seconds between two saved states, from which a killed run goes on."""

    @model_validator(mode="after")
    def _tables_cost_no_time(self) -> "Recipe":
        if self.of == "time" and self.embeddings:
            raise ValueError("embeddings: a look-up costs no time that factors could save; not with of: time")
        return self

    @model_validator(mode="after")
    def _tables_lie_in_no_block(self) -> "Recipe":
        if self.of == "blocks" and self.embeddings:
            raise ValueError("embeddings: tables lie in no block; with of: total (or linears) they count")
        return self

    @model_validator(mode="after")
    def _single_matrices_are_timed(self) -> "Recipe":
        if self.of == "time" and self.share_inputs:
            raise ValueError("share_inputs: matrices are timed one by one; not with of: time")
        return self


Keep = Annotated[float, Field(ge=0.001, le=1)]
"""A keep ratio. Smaller ones would not stand in a run's name as they are written, and no network has them."""


class RankLearning(Recipe):
    """One run: a recipe, a method, a budget and a seed."""

    method: Method = "soft-threshold"
    """How ranks come about."""
    keep: Keep = 0.5
    """Share of the parameters that stay."""
    seed: int = Field(1, ge=0)
    """Seed of the order of examples and of dropout."""


class Grid(Section):
    """Runs that differ in method, keep ratio and seed: all combinations."""

    methods: tuple[Method, ...] = Field(("soft-threshold", "svd"), min_length=1)
    """Methods."""
    keeps: tuple[Keep, ...] = Field((0.5,), min_length=1)
    """Keep ratios."""
    seeds: tuple[NonNegativeInt, ...] = Field((1,), min_length=1)
    """Seeds; the dense model is trained as long with each."""


MOST_RUNS = 10_000


class Compression(Section):
    """A trained model and how its ranks are learned."""

    base: str = "reference"
    """Name of the trained run, of part or of language, that is compressed."""
    learning: Recipe = Recipe()
    """The recipe of every run."""
    grids: tuple[Grid, ...] = (Grid(),)
    """The runs."""

    @model_validator(mode="after")
    def _few_runs(self) -> "Compression":
        runs = sum(len(grid.methods) * len(grid.keeps) * len(grid.seeds) for grid in self.grids)
        if runs > MOST_RUNS:
            raise ValueError(f"grids: {runs} runs are named, at most {MOST_RUNS} are made")
        return self

    @model_validator(mode="after")
    def _something_compressed(self) -> "Compression":
        if all(method == "dense" for grid in self.grids for method in grid.methods):
            raise ValueError("grids: no method compresses; the dense model is trained beside others unasked")
        return self

    def shown(self) -> str:
        """Name of the run that the report shows in detail: the first of the method that it is about.

        That is `first_learned` of the methods, or where none learns ranks the first.
        """
        runs = self.runs()
        method = first_learned(run.method for run in runs.values())
        return next(name for name, run in runs.items() if method in (run.method, None))

    def runs(self) -> dict[str, RankLearning]:
        """Settings of every run by its name, method-keep-seed; the dense model once for each seed."""
        found: list[tuple[Method, float, int]] = [
            (method, keep, seed)
            for grid in self.grids
            for method in grid.methods
            for keep in grid.keeps
            for seed in grid.seeds
            if method != "dense"
        ]
        seeds = dict.fromkeys(seed for grid in self.grids for seed in grid.seeds)
        found += [("dense", 1.0, seed) for seed in seeds]
        return {
            f"{method}-{keep}-{seed}": RankLearning(
                **self.learning.model_dump(), method=method, keep=keep, seed=seed
            )
            for method, keep, seed in found
        }
