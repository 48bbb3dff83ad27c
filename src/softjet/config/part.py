"""Sections of the configuration about Particle Transformer: shape and training."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from softjet.config.section import Computed, GivenPath, Section

HeadScale = Literal["2022", "current"]
"""Meaning of weaver-core's head scale: until version 0.4 it also transposed head and channel."""

PairMass = Literal["published", "stable"]

N_FEATURES = {"kin": 7, "kinpid": 13, "kinpidplus": 13, "full": 17}


Width = Annotated[int, Field(ge=1, le=16_384)]


class ParTModel(Section):
    """Shape of a Particle Transformer; the defaults are the published model (arXiv 2202.03772)."""

    features: Literal["kin", "kinpid", "kinpidplus", "full"] = "full"
    """Feature set of the particles: 7, 13, 13 or 17 features; `kinpidplus` is of quark-gluon files."""
    max_particles: int = Field(128, ge=2, le=10_000)
    """Hardest particles of a jet that the model sees."""
    classes: int = Field(10, ge=2, le=1000)
    """Classes told apart."""
    embed_dims: tuple[Width, ...] = Field((128, 512, 128), min_length=1)
    """Widths of the particle embedding; the last is the width of the model."""
    pair_embed_dims: tuple[Width, ...] = (64, 64, 64)
    """Widths of the pair embedding, before the one channel a head."""
    heads: int = Field(8, ge=1, le=1000)
    """Attention heads; they divide the width."""
    blocks: int = Field(8, ge=1, le=1000)
    """Particle attention blocks."""
    class_blocks: int = Field(2, ge=1, le=1000)
    """Class attention blocks."""
    expansion: int = Field(4, ge=1, le=1000)
    """Width of the feed-forward layer in units of the model's width."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout in the particle blocks (published: 0.1); random numbers can take half of a processor's time."""
    normalisation: Literal["renormalised", "masked", "published"] = "renormalised"
    """`renormalised`: by running averages in training; `masked`: BatchNorm; `published`: over padding too."""
    pair_mass: PairMass = "published"
    """`stable`: squares and differences of ln m^2 in float64, which in float32 are noise for close pairs."""

    @model_validator(mode="after")
    def _heads_divide(self) -> "ParTModel":
        if self.embed_dims[-1] % self.heads:
            raise ValueError(
                f"{self.heads} heads do not divide the width {self.embed_dims[-1]}, the last of embed_dims"
            )
        return self


class Training(Computed):
    """How a Particle Transformer is trained."""

    epochs: float | None = Field(2.5, gt=0, le=10_000)
    """Passes over the training split; null where `steps` is given."""
    steps: int | None = Field(None, ge=1, le=10_000_000)
    """Steps in all, instead of epochs."""
    batch_size: int = Field(64, ge=2)
    """Jets a step, over all processes and microbatches."""
    microbatches: int = Field(1, ge=1)
    """Pieces of a process's share of a step, one after another: less memory, the same step."""
    processes: int = Field(1, ge=1)
    """Processes that share each step (torchrun on this machine)."""
    optimiser: Literal["adamw", "ranger"] = "adamw"
    """`ranger`: RAdam with Lookahead, as published."""
    learning_rate: float = Field(0.0007, gt=0)
    """Peak learning rate."""
    head_rate: float = Field(1.0, gt=0)
    """Factor on the learning rate of the head (published: 50 in fine-tuning)."""
    schedule: Literal["cosine", "flat-exponential", "constant"] = "cosine"
    """Learning rate after the warm-up: to zero; flat for 70 % and then to 1 %, as published; or as it is."""
    stages: int = Field(20, ge=1)
    """Equal parts of the training, between which a flat-exponential rate changes (published: epochs)."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of steps in which the learning rate rises."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled weight decay of the matrices."""
    clip: float | None = Field(1.0, gt=0)
    """Largest gradient norm; null: any, as published."""
    blocks: Literal["auto", "compiled", "pytorch"] = "auto"
    """Blocks in training: `compiled` for the processor, or by `pytorch`; `auto`: compiled where possible."""
    deterministic: bool = False
    """The same bits on any number of cores: one thread a process, no operation that may give others."""
    sync_batchnorm: bool = False
    """BatchNorm over the pieces of all processes (GPUs only; not for `renormalised`)."""
    validate_every: int = Field(200, ge=1)
    """Steps between two validations."""
    checkpoints: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.02, 0.1, 0.3)
    """Shares of the training after which the weights are kept, to see how attention grows."""
    save_every: float = Field(60.0, gt=0)
    """Seconds between two saved states, from which a killed training goes on."""
    seed: int = Field(1, ge=0)
    """Seed of initial weights, order of jets and dropout."""

    @model_validator(mode="before")
    @classmethod
    def _steps_replace_default_epochs(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("steps") is not None:
            return {"epochs": None} | values
        return values

    @model_validator(mode="after")
    def _one_length(self) -> "Training":
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either epochs or steps, not both")
        if self.batch_size < 2 * self.pieces:
            raise ValueError(
                f"batch_size {self.batch_size} is below two jets for each of {self.pieces} pieces"
            )
        return self

    @property
    def pieces(self) -> int:
        """Pieces that a step's batch is cut into."""
        return self.processes * self.microbatches


class Weights(Section):
    """Weights made by weaver-core, imported instead of a training."""

    name: str = Field("ParT_full", pattern=r"^[\w.\-]+$")
    """A published model (`ParT_full`, `ParT_kin`, `ParT_kinpid`), or the name of your file without .pt."""
    folder: GivenPath = ""
    """Folder that holds `<name>.pt`; empty: the published file is downloaded."""
    sha256: str = Field("", pattern=r"^([0-9a-f]{64})?$")
    """Digest that the file must have; empty: any, and the sidecar tells which."""
    head_scale: HeadScale = "2022"
    """`2022`: trained with weaver-core 0.4 or older, as the published weights; `current`: 0.5 or later."""


class ParTRun(Section):
    """A Particle Transformer: its data, shape and training."""

    dataset: str = "simulated"
    """Name of the dataset it learns from."""
    start_from: GivenPath = ""
    """Fine-tune another run: its name, or the folder of its model (with a /)."""
    model: ParTModel = ParTModel()
    """Shape."""
    training: Training = Training()
    """Training."""
    weights: Weights | None = None
    """Import weights instead of training: `name`, `folder`, `sha256`, `head_scale`; `model` follows them."""

    def licence(self) -> str:
        """Licence of the weights as far as it is known: that of published ones."""
        return "MIT" if self.weights and not self.weights.folder else "unknown"

    @model_validator(mode="after")
    def _one_origin(self) -> "ParTRun":
        if self.weights and self.start_from:
            raise ValueError("give either weights or start_from; fine-tune an imported run by its name")
        return self

    @model_validator(mode="after")
    def _batchnorm_to_synchronise(self) -> "ParTRun":
        if self.training.sync_batchnorm and self.model.normalisation == "renormalised":
            raise ValueError("sync_batchnorm needs normalisation masked or published")
        return self
