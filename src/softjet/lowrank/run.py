"""A rank-learning run under way: where it stands, how it is saved and taken up again."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from softjet.config.lowrank import RankLearning, Selection
from softjet.errors import InputError
from softjet.lowrank.budget import Counts, Tally, least_price, weights_allowed
from softjet.lowrank.factors import Factors, ranks_of
from softjet.lowrank.price import PARAMETERS, Price, dense_price, total_price
from softjet.lowrank.ranks import factors_of_rows
from softjet.lowrank.selection import all_factors
from softjet.state import load_state, random_states, save_state, set_random_states, taking_up

Phase = Literal["learning", "recovery", "done"]


@dataclass
class Run:
    """The model, its optimiser and where the run stands.

    Attributes
    ----------
    model, selection, settings
        As given to :func:`softjet.lowrank.learn_ranks`; the model is decomposed, if the method does so.
    dense : Counts
        Parameters of the model as it came.
    weight : float
        Present weight of the compression term.
    price : Price
        What a budget of time is counted in.
    teacher : str
        Digest of the dense model that the run is distilled from; empty if it is from none.
    phase, step, began
        Phase under way, steps taken in all, and the step at which the phase began.
    history, ranks : list of dict
        Rows of the two tables so far.
    tally : Tally
        What the counts of parameters depend on.
    counts : Counts
        Parameters that the ranks left when they were last counted.
    optimiser : torch.optim.Optimizer
        Of the phase under way.
    """

    model: nn.Module
    selection: Selection
    settings: RankLearning
    dense: Counts
    weight: float = 0.0
    price: Price = PARAMETERS
    teacher: str = ""
    phase: Phase = "learning"
    step: int = 0
    began: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    ranks: list[dict[str, Any]] = field(default_factory=list)
    tally: Tally = field(init=False)
    counts: Counts = field(init=False)
    optimiser: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        self.tally = Tally.of(self.model, self.selection, self.settings.embeddings)
        self.recount()
        self.start_optimiser()

    @property
    def factors(self) -> list[Factors]:
        """The matrices, in the order of the model; none if it stays dense."""
        return all_factors(self.model)

    @property
    def limit(self) -> int:
        """Most steps of the phase under way; recovery has those that learning left over."""
        learning, recovery = self.settings.learn_steps, self.settings.recover_steps
        return learning if self.phase == "learning" else learning + recovery - self.began

    @property
    def left(self) -> int:
        """Steps left of the phase under way, at most."""
        return self.began + self.limit - self.step

    def recount(self) -> None:
        """Count the parameters that the present ranks leave."""
        self.counts = self.tally.counts()

    def allowed(self, keep: float | None = None) -> float:
        """What a budget, by default that of the settings, leaves to the matrices: parameters or time."""
        keep = self.settings.keep if keep is None else keep
        if self.settings.of == "time":
            return keep * dense_price(self.factors, self.price)
        return weights_allowed(self.dense, keep, self.settings.of)

    def least(self) -> float:
        """What the matrices cost at their rank floors, in the unit of the budget."""
        return least_price(self.factors, self.settings.rank_multiple, self.settings.rank_floor, self.price)

    def least_keep(self) -> float:
        """Least share, in thousandths, whose budget holds the rank floors."""
        return bisect_left(range(1000), self.least(), key=lambda share: self.allowed(share / 1000)) / 1000

    def spent(self) -> float:
        """What the selected matrices cost at the present ranks, in the unit of the budget."""
        if self.settings.of == "time":
            return total_price(self.factors, ranks_of(self.factors), self.price)
        return self.counts.linears

    def kept(self) -> float:
        """Share that the present ranks leave of what the budget is of."""
        if self.settings.of == "time":
            return self.spent() / dense_price(self.factors, self.price)
        return float(getattr(self.counts.over(self.dense), self.settings.of))

    def start_optimiser(self) -> None:
        """Begin a fresh AdamW without weight decay; gates are in it only while ranks are learned."""
        gates = {id(p): p for f in self.factors for p in f.gate.parameters() if p.requires_grad}
        weights = [p for p in self.model.parameters() if p.requires_grad and id(p) not in gates]
        groups = [{"params": weights}]
        if gates:
            groups.append({"params": list(gates.values())})
        self.optimiser = torch.optim.AdamW(groups, weight_decay=0.0, fused=True)

    def decompose_afresh(self) -> None:
        """Make the directions of every matrix orthonormal again, where training has moved them.

        Where a gate belongs to directions, they stay: it has learned about these and no others.
        """
        for factors in self.factors:
            if factors.gate.by_size and factors.left.requires_grad:
                factors.redecompose()
                for parameter in (factors.left, factors.sigma, factors.right):
                    self.optimiser.state.pop(parameter, None)  # moments along the old directions

    def enter(self, phase: Phase) -> None:
        """Go over to `phase`."""
        self.phase, self.began = phase, self.step
        self.recount()
        if phase == "recovery":
            self.start_optimiser()


def save_run(run: Run, target: Path) -> None:
    """Write the run's state, whole or not at all."""
    content = {
        "identity": _identity(run),
        "teacher": run.teacher,
        "place": [run.phase, run.step, run.began, run.weight],
        "history": run.history,
        "ranks": run.ranks,
        "model": run.model.state_dict(),
        "optimiser": run.optimiser.state_dict(),
        "random": random_states(),
    }
    save_state(target, content)


def take_up(run: Run, source: Path) -> None:
    """Bring a fresh run to the state saved in `source`, random numbers included.

    Raises
    ------
    InputError
        The state cannot be read, or is that of a run with other settings or another teacher.
    """
    state = load_state(source)
    with taking_up(source):
        _take_up(run, state, source)


def _take_up(run: Run, state: Mapping[str, Any], source: Path) -> None:
    if state["identity"] != _identity(run):
        raise InputError(source, "settings", "belong to another run; give another folder or remove this file")
    if state["teacher"] != run.teacher:
        problem = "is not the one that this run is distilled from; give that one or remove this file"
        raise InputError(source, "dense model", problem)
    run.phase, run.step, run.began, run.weight = state["place"]
    run.history, run.ranks = state["history"], state["ranks"]
    if run.phase != "learning":
        for factors, row in zip(_factors_of_rows(run), run.ranks, strict=False):
            factors.fix(row["rank"])
        run.start_optimiser()
    run.model.load_state_dict(state["model"])
    run.optimiser.load_state_dict(state["optimiser"])
    run.recount()
    set_random_states(state["random"])


def _factors_of_rows(run: Run) -> list[Factors]:
    """Matrices in the order of the table of ranks; none where all is dense."""
    return factors_of_rows(run.model, run.selection, run.settings.embeddings) if run.factors else []


def _identity(run: Run) -> list[str]:
    """Settings and selection, without what has no bearing on the numbers."""
    settings = run.settings.model_dump_json(exclude={"save_every"})
    return [settings, run.selection.model_dump_json(exclude={"one_length"})]
