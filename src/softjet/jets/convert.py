"""Turn files of jets of any format into Parquet files for training, validation and test.

Two passes in bounded memory. The first checks every jet and scatters it to its output file, by random
numbers that depend on nothing but seed, source file name and entry. The second brings each output file
into random order and writes it. Memory is that of one piece of a file a thread in the first pass and of twice
one output file in the second, with several threads of two: more files a split, less memory.

Threads share out the source files, and then the output files. They are enough, since all that takes long
(decompression, Arrow, compiled functions) lets others run; what is written does not depend on their number.
"""

import hashlib
import os
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from softjet.config.jets import Dataset, Fractions
from softjet.errors import InputError
from softjet.jets.ahead import ahead
from softjet.jets.check import BadJet, find_bad_jets, refuse
from softjet.jets.observables import add_substructure
from softjet.jets.read import FORMATS
from softjet.jets.readers.pieces import NO_LABEL, JetFile
from softjet.jets.schema import COLUMNS, JET_COLUMNS, JET_OBSERVABLES, JetFacts, table_facts, table_schema
from softjet.jets.tables import sort_by_pt, write_jets
from softjet.progress import Progress
from softjet.provenance.files import whole_file

SPLITS = tuple(Fractions.model_fields)
"""train, validation, test."""

REJECTED = "rejected"
"""In the table of counts, the place of jets that are in no split."""

_ORDER = "order"
_SCRATCH = ".arrows"
_REJECTED_SCHEMA = pa.schema([("source", pa.string()), ("entry", pa.int64()), ("reason", pa.string())])
_COUNTS_SCHEMA = pa.schema(
    [("source", pa.string()), ("class", pa.string()), ("split", pa.string()), ("jets", pa.int64())]
)

Counts = Counter[tuple[str, int, str]]


@dataclass(frozen=True)
class Source:
    """A file of jets, and the split that all its jets go to (empty: they are shared out)."""

    file: JetFile
    split: str = ""


def convert(
    dataset: Dataset,
    files: Iterable[str | Path],
    outputs: Mapping[str, Sequence[str | Path]],
    rejected_path: str | Path,
    counts_path: str | Path,
    fixed: Mapping[str, Iterable[str | Path]] | None = None,
    threads: int = 1,
) -> None:
    """Convert files of jets to Parquet; every jet that is read is written or listed as rejected.

    Substructure that the files lack is computed. All outputs say in their metadata what the format says of
    its jets (`softjet.jets.schema.table_facts`).

    Parameters
    ----------
    dataset : Dataset
        Source (which format the files have), fractions, seed, and what to do with bad jets.
    files : iterable of paths
        Files whose jets are shared out over the splits; no two files have one name.
    outputs : mapping from split to paths
        The Parquet files of train, validation and test; jets of each class are mixed through all of them.
    rejected_path : str or path
        Parquet table (source, entry, reason) of jets that are in no split.
    counts_path : str or path
        Parquet table (source, class, split, jets), with rejected jets in the split "rejected".
    fixed : mapping from split to iterable of paths, optional
        Files whose jets all go to that split.
    threads : int
        Source files that are read side by side; of output files at most two are written at a time.

    Raises
    ------
    InputError
        For files that cannot be read, bad jets (unless they are to be rejected), or a class without
        jets in a split. No output is left then.
    """
    sources = inspect_sources(dataset, files, fixed or {})
    facts = table_facts(sources[0].file.schema)
    with ExitStack() as stack:
        scratch = Path(counts_path).parent
        scratch.mkdir(parents=True, exist_ok=True)
        suffix = f"-{Path(counts_path).name}"
        scattered = tempfile.TemporaryDirectory(prefix=".partial-", suffix=suffix, dir=scratch)
        folder = Path(stack.enter_context(scattered))
        final = {
            path: stack.enter_context(whole_file(path))
            for path in (*(p for paths in outputs.values() for p in paths), rejected_path, counts_path)
        }
        bins = [(split, final[path]) for split in SPLITS for path in outputs[split]]
        rejected, counts = _scatter(dataset, sources, _Shares(dataset, outputs), folder, threads)
        targets = [(_scattered(folder, place), path, split) for place, (split, path) in enumerate(bins)]
        counts += _sum(ahead(lambda target: _shuffle(*target), targets, _workers(min(threads, 2)), 2))
        _check_counts(sources, counts)
        _check_classes(dataset, facts, counts)
        pq.write_table(pa.Table.from_pylist(rejected, _REJECTED_SCHEMA), final[rejected_path])
        pq.write_table(_count_table(counts, facts), final[counts_path])


def inspect_sources(
    dataset: Dataset, files: Iterable[str | Path], fixed: Mapping[str, Iterable[str | Path]]
) -> list[Source]:
    """Check all files before any is read.

    Parameters
    ----------
    dataset : Dataset
        Its source says which format the files have.
    files, fixed
        As in `convert`.

    Returns
    -------
    list of Source
        In the order of their names.

    Raises
    ------
    InputError
        Where a file is not as it should be, is empty, shares its name with another, or has other columns
        or says otherwise of its jets than another.
    """
    inspect = FORMATS[dataset.source].inspect
    sources = [Source(inspect(path)) for path in files]
    sources += [Source(inspect(path), split) for split, paths in fixed.items() for path in paths]
    sources.sort(key=lambda source: source.file.path.name)
    if not sources:
        raise InputError("jet files", "files", "no file is given; name at least one")
    for before, source in zip([sources[0], *sources], sources, strict=False):
        if source.file.entries == 0:
            raise InputError(source.file.path, "jets", "no jet in it; make it again or leave the file out")
        if before is not source:
            _check_agreement(before.file, source.file)
    return sources


def _check_agreement(before: JetFile, file: JetFile) -> None:
    if before.path == file.path:
        raise InputError(file.path, "name", "is given twice; name each file once")
    if before.path.name == file.path.name:
        raise InputError(file.path, "name", f"equals that of {before.path}; rename one of the two")
    for name in COLUMNS:
        if (name in before.schema.names) != (name in file.schema.names):
            raise InputError(
                file.path, name, f"in one of this file and {before.path} only; convert them apart"
            )
    if table_facts(before.schema) != table_facts(file.schema):
        problem = f"says otherwise than that of {before.path}; convert them apart"
        raise InputError(file.path, "metadata", problem)


def jet_randoms(seed: int, source: str, entries: int) -> NDArray[np.float64]:
    """Two random numbers in [0, 1) for every jet of a source file: its place among the splits, its order.

    Parameters
    ----------
    seed : int
        Seed of the dataset.
    source : str
        Name of the file, without its folder: where it lies changes nothing.
    entries : int
        Jets in the file; the numbers of an entry do not depend on how many follow it.

    Returns
    -------
    (entries, 2) float64 array
        Place and order.
    """
    return _generator(seed, source).random((entries, 2))


def _generator(seed: int, source: str) -> np.random.Generator:
    name = np.frombuffer(hashlib.sha256(os.fsencode(source)).digest(), np.uint32)
    return np.random.default_rng([seed, *name.tolist()])


class _Shares:
    """Which output file a jet goes to: each has a share of [0, 1), in the order of splits and their files."""

    def __init__(self, dataset: Dataset, outputs: Mapping[str, Sequence[str | Path]]) -> None:
        shares = [
            np.full(len(outputs[split]), getattr(dataset.fractions, split) / len(outputs[split]))
            for split in SPLITS
        ]
        edges = np.append(0, np.cumsum(np.concatenate(shares)))
        self._edges = edges / edges[-1]
        ends = np.append(0, np.cumsum([len(outputs[split]) for split in SPLITS]))
        self._range = {split: self._edges[ends[i : i + 2]] for i, split in enumerate(SPLITS)}

    def __len__(self) -> int:
        return len(self._edges) - 1

    def files(self, place: NDArray[np.float64], split: str) -> NDArray[np.int64]:
        """Output file of each jet, from its first random number; of one split only, if one is named."""
        low, high = self._range.get(split, (0.0, 1.0))
        file = np.searchsorted(self._edges, low + place * (high - low), side="right") - 1
        # The product may round up to the upper edge.
        return np.minimum(file, np.searchsorted(self._edges, high) - 1)


GROUPS = 4
"""Groups of source files a thread, so that none waits long for the others at the end."""


def _scatter(
    dataset: Dataset, sources: Sequence[Source], shares: _Shares, folder: Path, threads: int
) -> tuple[list[dict], Counts]:
    """Write every sound jet to a scratch file of its output; give the rejected jets and their counts."""
    total = sum(source.file.entries for source in sources)
    with Progress(total, "convert", "jets") as progress:
        scatter = _Scatter(dataset, shares, folder, progress)
        groups = list(enumerate(_groups(sources, GROUPS * threads if threads > 1 else 1)))
        found = list(ahead(scatter.group, groups, _workers(threads), 2 * threads, scatter.stop))
    return [row for rejected, _ in found for row in rejected], _sum(counts for _, counts in found)


def _groups(sources: Sequence[Source], most: int) -> list[Sequence[Source]]:
    """Sources in their order, in at most so many groups with about as many jets each."""
    before = np.cumsum([0, *(source.file.entries for source in sources)])
    ends = np.searchsorted(before, np.linspace(0, before[-1], most + 1))
    return [sources[start:end] for start, end in pairwise(np.unique(ends))]


def _workers(threads: int) -> int:
    """Threads beside the caller's, which waits for them."""
    return threads if threads > 1 else 0


def _sum(counts: Iterable[Counts]) -> Counts:
    return sum(counts, start=Counter())


@dataclass
class _Scatter:
    """The first pass, of several groups of source files at once."""

    dataset: Dataset
    shares: _Shares
    folder: Path
    progress: Progress
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def group(self, numbered: tuple[int, Sequence[Source]]) -> tuple[list[dict], Counts]:
        """Write the sound jets of the group with this number; give the rejected ones and their counts."""
        number, sources = numbered
        schema = _output_schema(sources[0].file.schema)
        rejected: list[dict] = []
        counts: Counts = Counter()
        with ExitStack() as stack:
            files = [self.folder / f"{place}-{number}{_SCRATCH}" for place in range(len(self.shares))]
            scratch = schema.append(pa.field(_ORDER, pa.float64()))
            writers = [stack.enter_context(pa.ipc.new_stream(file, scratch)) for file in files]
            for source, table, randoms in self._pieces(sources):
                bad = _bad_jets(table, source.file.path, self.dataset)
                rejected += _rejections(table, bad)
                counts += _count(table.take(np.array([jet.row for jet in bad], np.int64)), REJECTED)
                jets = _prepared(table, bad, schema)
                place, order = randoms[_sound(table, bad)].T
                jets = jets.append_column(_ORDER, pa.array(order))
                _distribute(jets, self.shares.files(place, source.split), writers)
        return rejected, counts

    def _pieces(self, sources: Iterable[Source]) -> Iterator[tuple[Source, pa.Table, NDArray[np.float64]]]:
        """Pieces of files and the random numbers of their jets, until another group has failed."""
        read = FORMATS[self.dataset.source].read
        for source in sources:
            generator = _generator(self.dataset.seed, source.file.path.name)
            for table in read([source.file.path]):
                if self.stop.is_set():
                    return
                # As of `jet_randoms`, but the file need not have as many jets as it says.
                yield source, table, generator.random((len(table), 2))
                with self.lock:
                    self.progress.advance(len(table))


def _bad_jets(table: pa.Table, path: Path, dataset: Dataset) -> list[BadJet]:
    """Bad jets of a piece, if they are to be listed apart; else the first one is an error."""
    bad = find_bad_jets(table)
    if bad and dataset.bad_jets == "error":
        raise refuse(bad[0], table, path, "with `bad_jets: reject` such jets are listed apart")
    return bad


def _prepared(table: pa.Table, bad: Sequence[BadJet], schema: pa.Schema) -> pa.Table:
    """Sound jets as they are written: particles in falling pT, with substructure."""
    return add_substructure(sort_by_pt(table.filter(_sound(table, bad)))).select(schema.names)


def _sound(table: pa.Table, bad: Sequence[BadJet]) -> NDArray[np.bool_]:
    sound = np.ones(len(table), bool)
    sound[[jet.row for jet in bad]] = False
    return sound


def _output_schema(schema: pa.Schema) -> pa.Schema:
    """Schema of the outputs: all that the files have, and substructure."""
    return table_schema({*schema.names, *JET_COLUMNS, *JET_OBSERVABLES}, table_facts(schema))


def _scattered(folder: Path, place: int) -> list[Path]:
    """Scratch files of an output, in the order of the groups."""
    files = folder.glob(f"{place}-*{_SCRATCH}")
    return sorted(files, key=lambda path: int(path.stem.partition("-")[2]))


def _distribute(
    jets: pa.Table, file: NDArray[np.int64], writers: Sequence[pa.ipc.RecordBatchStreamWriter]
) -> None:
    """Append each jet to the scratch file with this number."""
    grouped = jets.take(np.argsort(file, kind="stable"))
    first = 0
    for target, count in zip(writers, np.bincount(file, minlength=len(writers)).tolist(), strict=True):
        target.write_table(grouped.slice(first, count))
        first += count


def _rejections(table: pa.Table, bad: Sequence[BadJet]) -> list[dict]:
    return [
        {
            "source": table["source"][jet.row].as_py(),
            "entry": table["entry"][jet.row].as_py(),
            "reason": f"{jet.field}: {jet.problem}",
        }
        for jet in bad
    ]


def _shuffle(scattered: Sequence[Path], target: Path, split: str) -> Counts:
    """Write the jets of scratch files in random order; count them."""
    with ExitStack() as stack:
        streams = [stack.enter_context(pa.memory_map(str(path))) for path in scattered]
        table = pa.concat_tables([pa.ipc.open_stream(stream).read_all() for stream in streams])
        table = table.unify_dictionaries()
        table = table.take(np.argsort(table[_ORDER].to_numpy(), kind="stable")).drop_columns([_ORDER])
    write_jets(table, target)
    return _count(table, split)


def _count(table: pa.Table, split: str) -> Counts:
    pairs = zip(table["source"].to_pylist(), table["label"].to_pylist(), strict=True)
    return Counter((source, label, split) for source, label in pairs)


def _check_counts(sources: Sequence[Source], counts: Counts) -> None:
    """Every jet that was read is written or rejected."""
    found: Counter[str] = Counter()
    for (name, _, _), jets in counts.items():
        found[name] += jets
    for file in (source.file for source in sources):
        if found[file.path.name] != file.entries:
            problem = f"{file.entries} jets were read, {found[file.path.name]} written or rejected"
            raise RuntimeError(f"{file.path}: {problem}")


def _check_classes(dataset: Dataset, facts: JetFacts, counts: Counts) -> None:
    """Every class that is expected has jets in every split: all ten in a simulation, else those seen."""
    seen = {label for _, label, _ in counts} - {NO_LABEL}
    expected = set(range(len(facts.classes))) if dataset.source == "simulation" else seen
    have = {(label, split) for _, label, split in counts}
    for label in sorted(expected):
        field = f"label {facts.classes[label]}"
        if label not in seen:
            raise InputError("jet files", field, "no jet of this class; add its files")
        for split in SPLITS:
            if (label, split) not in have:
                problem = f"no jet of this class in {split}; give more jets or a larger fraction"
                raise InputError("jet files", field, problem)


def _count_table(counts: Counts, facts: JetFacts) -> pa.Table:
    names = dict(enumerate(facts.classes)) | {NO_LABEL: "none"}
    rows = [
        {"source": source, "class": names[label], "split": split, "jets": jets}
        for (source, label, split), jets in sorted(counts.items())
    ]
    return pa.Table.from_pylist(rows, _COUNTS_SCHEMA)
