"""A rank-learning run under way: where it stands, how it is saved and taken up again."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from softjet.config.lowrank import RankLearning, Selection
from softjet.errors import InputError
from softjet.lowrank.budget import Counts, weights_allowed
from softjet.lowrank.layer import Factors, kept_parameters
from softjet.lowrank.selection import all_factors
from softjet.provenance.files import whole_file

Phase = Literal["learning", "recovery", "done"]


@dataclass
class Run:
    """The model, its optimiser and where the run stands.

    Attributes
    ----------
    model, selection, settings
        As given to :func:`softjet.lowrank.learn_ranks`; the model is already decomposed.
    dense : Counts
        Parameters of the model as it came.
    phase, step, began
        Phase under way, steps taken in all, and the step at which the phase began.
    history, ranks : list of dict
        Rows of the two tables so far.
    weight : float
        Present weight of the compression term.
    optimiser : torch.optim.Optimizer
        Of the phase under way.
    """

    model: nn.Module
    selection: Selection
    settings: RankLearning
    dense: Counts
    phase: Phase = "learning"
    step: int = 0
    began: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    ranks: list[dict[str, Any]] = field(default_factory=list)
    weight: float = field(init=False)
    optimiser: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        self.weight = self.settings.weight
        self.start_optimiser()

    @property
    def factors(self) -> list[Factors]:
        """The matrices, in the order of the model."""
        return all_factors(self.model)

    @property
    def limit(self) -> int:
        """Most steps of the phase under way."""
        return self.settings.learn_steps if self.phase == "learning" else self.settings.recover_steps

    @property
    def left(self) -> int:
        """Steps left of the phase under way, at most."""
        return self.began + self.limit - self.step

    def counts(self) -> Counts:
        """Parameters that the present ranks leave."""
        kept = sum(kept_parameters(f.rank(), *f.shape) for f in self.factors)
        return Counts(*(count - self.dense.linears + kept for count in self.dense))

    def allowed(self) -> int:
        """Parameters that the budget leaves to the selected matrices."""
        return weights_allowed(self.dense, self.settings.keep, self.settings.of)

    def start_optimiser(self) -> None:
        """Begin a fresh AdamW without weight decay; thresholds are in it only while ranks are learned."""
        thresholds = {id(f.alpha): f.alpha for f in self.factors if f.alpha.requires_grad}
        weights = [p for p in self.model.parameters() if p.requires_grad and id(p) not in thresholds]
        groups = [{"params": weights}]
        if thresholds:
            groups.append({"params": list(thresholds.values())})
        self.optimiser = torch.optim.AdamW(groups, weight_decay=0.0)

    def enter(self, phase: Phase) -> None:
        """Go over to `phase`."""
        self.phase, self.began = phase, self.step
        if phase == "recovery":
            self.start_optimiser()


def save_run(run: Run, target: Path) -> None:
    """Write the run's state, whole or not at all."""
    state = {
        "identity": _identity(run),
        "place": [run.phase, run.step, run.began, run.weight],
        "history": run.history,
        "ranks": run.ranks,
        "model": run.model.state_dict(),
        "optimiser": run.optimiser.state_dict(),
        "random": [
            torch.get_rng_state(),
            *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []),
        ],
    }
    with whole_file(target) as partial:
        torch.save(state, partial)


def take_up(run: Run, source: Path) -> None:
    """Bring a fresh run to the state saved in `source`, random numbers included.

    Raises
    ------
    InputError
        The state is that of a run with other settings.
    """
    state = torch.load(source, weights_only=True)
    if state["identity"] != _identity(run):
        raise InputError(source, "settings", "belong to another run; give another folder or remove this file")
    run.phase, run.step, run.began, run.weight = state["place"]
    run.history, run.ranks = state["history"], state["ranks"]
    if run.phase != "learning":
        for factors in run.factors:
            factors.freeze()
        run.start_optimiser()
    run.model.load_state_dict(state["model"])
    run.optimiser.load_state_dict(state["optimiser"])
    torch.set_rng_state(state["random"][0])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["random"][1:])


def _identity(run: Run) -> list[str]:
    return [run.settings.model_dump_json(exclude={"save_every"}), run.selection.model_dump_json()]
