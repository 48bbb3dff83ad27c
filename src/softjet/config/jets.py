"""Sections of the configuration about jets: simulation and datasets."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from softjet.config.section import GivenPath, Section

ClassName = Literal["QCD", "Hbb", "Hcc", "Hgg", "H4q", "Hqql", "Zqq", "Wqq", "Tbqq", "Tbl"]
"""A class of JetClass, as `softjet.jets.schema` has them, which this package may not import."""


class Simulation(Section):
    """Collisions by Pythia 8, the published CMS-card detector response, anti-kT jets."""

    jets_per_class: int = Field(2000, ge=1)
    """Selected jets of each of the ten JetClass classes."""
    shards: int = Field(1, ge=1, le=10_000)
    """Jobs a class; each simulates jets_per_class / shards jets, one at least, with its own seed."""
    seed: int = Field(1, ge=0, le=800_000)
    """Seed of the whole simulation; class and shard are mixed into it."""

    @model_validator(mode="after")
    def _each_shard_has_a_jet(self) -> "Simulation":
        if self.shards > self.jets_per_class:
            raise ValueError(
                f"{self.shards} shards cannot share {self.jets_per_class} jets of a class; "
                "lower shards or raise jets_per_class"
            )
        return self


class Fractions(Section):
    """Shares of a dataset's jets in each split; they add up to one."""

    train: float = Field(0.7, gt=0, lt=1)
    """Share of jets to train on."""
    validation: float = Field(0.1, gt=0, lt=1)
    """Share of jets not trained on: loss curves, normalising the untrained network, fitting probes."""
    test: float = Field(0.2, gt=0, lt=1)
    """Share of jets every reported number is measured on."""

    @model_validator(mode="after")
    def _add_up(self) -> "Fractions":
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train, validation and test add up to {total:g}, not to 1")
        return self


class Splits(Section):
    """Files of each split, for datasets that are published in splits."""

    train: tuple[str, ...] = ()
    """Files or globs of the jets to train on."""
    validation: tuple[str, ...] = ()
    """Files or globs of jets for loss curves and probes; see `fractions.validation`."""
    test: tuple[str, ...] = ()
    """Files or globs of the jets every reported number is measured on."""

    @property
    def given(self) -> list[bool]:
        """Which of the three have files."""
        return [bool(self.train), bool(self.validation), bool(self.test)]


class Dataset(Section):
    """Where jets come from and how they are split."""

    source: Literal["simulation", "jetclass", "top_landscape", "quark_gluon", "parquet"] = "simulation"
    """`simulation`: the ROOT files simulated here; else the format of the files listed below."""
    simulation: Simulation = Simulation()
    """Used with source: simulation."""
    further_test: dict[ClassName, Annotated[int, Field(ge=0)]] = Field({})
    """Further jets by class, simulated for the test split only; over the default, none takes `QCD: 0`."""
    reference: GivenPath = ""
    """A Parquet file of published jets (label, part_px, part_py, part_pz, part_energy) to compare with."""
    files: tuple[str, ...] = ()
    """Files or globs whose jets are shared out by `fractions`; not used with source: simulation."""
    splits: Splits = Splits()
    """Instead of `files`: all jets of these files go to the split that names them."""
    fractions: Fractions = Fractions()
    """Split of the jets, by a hash of source file, entry and seed."""
    files_per_split: int = Field(1, ge=1, le=10_000)
    """Parquet files a split; every one holds all classes, mixed."""
    bad_jets: Literal["error", "reject"] = "error"
    """What a jet with NaN, no particle or no single label does: stop the conversion, or be listed apart."""
    seed: int = Field(1, ge=0)
    """Seed of split and shuffle."""

    @model_validator(mode="after")
    def _agree(self) -> "Dataset":
        given = self.splits.given
        if any(given) and (self.files or self.source == "simulation" or not all(given)):
            raise ValueError("splits names files of all three splits, without files and source: simulation")
        if any(self.further_test.values()) and self.source != "simulation":
            raise ValueError("further_test is simulated; use it with source: simulation")
        return self
