"""Batches of jets for training and evaluation, from Parquet files, in bounded memory.

Row groups come to memory a pool at a time (`softjet.jets.pools`). Which jets a training step sees follows
from seed and step alone. In evaluation, jets of like length of a pool stand in one batch. Pools and batches
are made ahead of their use, by threads.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from softjet.config.part import ParTModel
from softjet.errors import InputError
from softjet.jets.ahead import ahead
from softjet.jets.batch import Batch, JetGroup, Places, Pool, Share, check_pieces, read_group
from softjet.jets.features import Kind
from softjet.jets.pools import POOL, batch_counts, cut, deal, pool_count
from softjet.jets.row_groups import RowGroup, fewer, row_groups

KEPT = 1_000_000_000
"""Bytes of inputs that stay in memory between epochs."""

BATCHES_AHEAD = 4
"""Batches made before they are asked for."""

ALL: Share = (0, 1)


class _Plan(NamedTuple):
    """A pool of an epoch: its place in it, its row groups, its batches, and how many of these are skipped."""

    epoch: int
    place: int
    groups: list[RowGroup]
    batches: int
    skip: int


class JetLoader:
    """Batches of the jets in Parquet files.

    Parameters
    ----------
    paths : iterable of paths
        Files of one split, in the schema of `softjet.jets.schema`. Each may mix the classes or hold only one.
    features : {"kin", "kinpid", "kinpidplus", "full"}
        Feature set.
    batch_size : int
        Most jets a batch.
    seed : int
        Seed of the order in training, and of the choice that `most` makes.
    max_particles : int
        Hardest particles that are kept of a jet.
    pool : int
        Jets a pool, about. Pools are larger where files hold single classes: a row group of each, up to
        100,000 jets. Two pools are in memory at a time.
    most : int, optional
        Jets to use at most, chosen so that the classes keep their shares.
    workers : int
        Threads that make batches ahead; 0 makes all in the caller's thread. Batches do not depend on it.
    kept : int
        Bytes: inputs that need no more than this stay in memory between epochs.

    Raises
    ------
    InputError
        Where the files hold fewer than two jets, or a file is not a jet table, or its classes do not fit.
    """

    def __init__(
        self,
        paths: Iterable[str | Path],
        features: Kind,
        batch_size: int,
        seed: int,
        max_particles: int = 128,
        pool: int = POOL,
        most: int | None = None,
        workers: int = 1,
        kept: int = KEPT,
    ) -> None:
        self.features, self.batch_size, self.seed = features, batch_size, seed
        self.max_particles, self.workers, self.kept = max_particles, workers, kept
        files = [Path(path) for path in paths]
        self._groups, self.classes = row_groups(files, features)
        if most is not None:
            self._groups = fewer(self._groups, most, self._generator())
        self._kept: dict[RowGroup, JetGroup] = {}
        if self.n_jets < 2:
            raise InputError(", ".join(map(str, files)), "jets", "fewer than two; give more jets")
        self._n_pools = pool_count(self._groups, pool)

    @classmethod
    def for_model(
        cls,
        paths: Iterable[str | Path],
        shape: ParTModel,
        batch_size: int,
        seed: int = 0,
        most: int | None = None,
    ) -> "JetLoader":
        """Loader of what a model of this shape reads: its feature set, and as many particles as it sees.

        Raises
        ------
        InputError
            Also where the model tells apart another number of classes than the files have.
        """
        loader = cls(paths, shape.features, batch_size, seed, shape.max_particles, most=most)
        if shape.classes != len(loader.classes):
            named = f"{len(loader.classes)} ({','.join(loader.classes)})"
            problem = (
                f"{named}, but the model has {shape.classes}; set the model's `classes` to the files' number"
            )
            raise InputError(loader._groups[0].path, "classes", problem)
        return loader

    @property
    def n_jets(self) -> int:
        """Jets in all files, or as many as are used of them."""
        return sum(group.jets for group in self._groups)

    @cached_property
    def steps_per_epoch(self) -> int:
        """Batches in which every jet stands once."""
        return sum(plan.batches for plan in self._epoch(0))

    def training(self, start_step: int = 0, share: Share = ALL) -> Generator[Batch, None, None]:
        """Batches without end, in random order; every epoch holds each jet once.

        Row groups are dealt to pools anew in every epoch, so that each pool has its share of every class.
        Jets of a pool are shuffled and cut into batches of equal size (give or take one jet), so that no
        batch is much smaller than the others. Within a batch they stand from short to long. Batches of like
        length would save padding, but length tells much of the class: a network learns far more slowly from
        them (docs/batches.md).

        Parameters
        ----------
        start_step : int
            Step to begin with; the batches are those that an unbroken run gives from there on.
        share : pair of int
            Rank and world. Each of `world` processes gets its piece of the same batches: a batch's jets
            are dealt out in turn from short to long, so that pieces differ by at most one jet and little
            in length.

        Yields
        ------
        Batch
            Of at most `batch_size` jets, or the piece of one.

        Raises
        ------
        InputError
            Where a file cannot be read, or where a piece would have fewer than two jets.
        """
        with closing(self._training_jets(start_step, share)) as jets:
            yield from self._made(jets)

    def evaluation(self, share: Share = ALL) -> Generator[Batch, None, None]:
        """Every jet once, pool by pool in the order of the files, in a pool the batches of long jets first.

        What takes longest is begun first, so that no core waits long for the last batch.

        Parameters
        ----------
        share : pair of int
            Rank and world. Each of `world` processes gets other jets, every world-th of a pool by length.

        Yields
        ------
        Batch
            Of `batch_size` jets; the first of a pool may be smaller.
        """
        with closing(self._evaluation_jets(share)) as jets:
            yield from self._made(jets)

    def median_batch(self) -> Batch:
        """The batch of `evaluation` whose length, the particles of its longest jet, is the median of all.

        Only batches that are as large as the largest count; of two in the middle it is the longer one. No
        other batch is made.
        """
        with closing(self._evaluation_jets(ALL)) as jets:
            facts = ((len(places), pool.lengths[places[-1]]) for pool, places in jets)
            sizes, lengths = np.fromiter(facts, np.dtype((int, 2))).T
        whole = np.flatnonzero(sizes == sizes.max())
        middle = whole[np.argsort(lengths[whole], kind="stable")[len(whole) // 2]]
        with closing(self._evaluation_jets(ALL)) as jets:
            pool, places = next(islice(jets, int(middle), None))
            return pool.batch(places)

    def _generator(self, *place: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *place])

    def _epoch(self, epoch: int) -> list[_Plan]:
        pools = deal(self._groups, self._n_pools, self._generator(epoch))
        counts = batch_counts([sum(group.jets for group in pool) for pool in pools], self.batch_size)
        return [_Plan(epoch, i, *pool, skip=0) for i, pool in enumerate(zip(pools, counts, strict=True))]

    def _plans(self, start_step: int) -> Iterator[_Plan]:
        """Pools of all epochs to come, without those that lie before the start."""
        epoch, skip = divmod(start_step, self.steps_per_epoch)
        while True:
            for plan in self._epoch(epoch):
                if skip < plan.batches:
                    yield plan._replace(skip=skip)
                skip = max(0, skip - plan.batches)
            epoch += 1

    def _training_jets(self, start_step: int, share: Share) -> Generator[tuple[Pool, Places], None, None]:
        """Pool and places in it of the jets of each step."""
        rank, world = share
        with closing(self._loaded(self._plans(start_step))) as loaded:
            for plan, pool in loaded:
                check_pieces(len(pool.lengths) // plan.batches, world)
                for jets in self._shuffled(plan, pool)[plan.skip :]:
                    yield pool, jets[rank::world]

    def _shuffled(self, plan: _Plan, pool: Pool) -> list[Places]:
        generator = self._generator(plan.epoch, 1 + plan.place)
        batches = np.array_split(generator.permutation(len(pool.lengths)), plan.batches)
        return [jets[np.argsort(pool.lengths[jets], kind="stable")] for jets in batches]

    def _evaluation_jets(self, share: Share) -> Generator[tuple[Pool, Places], None, None]:
        rank, world = share
        pools = cut(self._groups, self._n_pools)
        with closing(self._loaded(_Plan(0, i, pool, 0, 0) for i, pool in enumerate(pools))) as loaded:
            for _, pool in loaded:
                jets = np.argsort(pool.lengths, kind="stable")[rank::world]
                for first in reversed(range(0, len(jets), self.batch_size)):
                    yield pool, jets[first : first + self.batch_size]

    def _made(self, jets: Iterator[tuple[Pool, Places]]) -> Iterator[Batch]:
        return ahead(lambda chosen: chosen[0].batch(chosen[1]), jets, self.workers, BATCHES_AHEAD)

    def _loaded(self, plans: Iterable[_Plan]) -> Generator[tuple[_Plan, Pool], None, None]:
        """Plans with their pools; the next one is read while the present one is used."""
        return ahead(lambda plan: (plan, self._load(plan.groups)), plans, min(self.workers, 1), depth=1)

    def _load(self, groups: list[RowGroup]) -> Pool:
        return Pool([self._part(group) for group in groups])

    def _part(self, group: RowGroup) -> JetGroup:
        """Jets of a row group; kept for the next epoch while memory allows."""
        if group in self._kept:
            return self._kept[group]
        part = read_group(group, self.features, self.max_particles)
        if part.inputs.nbytes / group.jets * self.n_jets <= self.kept:
            self._kept[group] = part
        return part
