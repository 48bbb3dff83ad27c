"""Turn ROOT files of jets into Parquet files for training, validation and test.

Two passes in bounded memory. The first checks every jet and scatters it to its output file, by random
numbers that depend on nothing but seed, source file name and entry. The second brings each output file
into random order and writes it. Memory is that of one piece of a ROOT file in the first pass and of twice
one output file in the second: more files a split, less memory.
"""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from softjet.config.jets import Dataset, Fractions
from softjet.errors import InputError
from softjet.jets.check import BadJet, find_bad_jets
from softjet.jets.read import NO_LABEL, JetFile, inspect_jetclass, read_jetclass
from softjet.jets.schema import CLASSES, jet_schema
from softjet.jets.tables import sort_by_pt, write_jets
from softjet.progress import Progress
from softjet.provenance.files import whole_file

SPLITS = tuple(Fractions.model_fields)
"""train, validation, test."""

REJECTED = "rejected"
"""In the table of counts, the place of jets that are in no split."""

_ORDER = "order"
_REJECTED_SCHEMA = pa.schema([("source", pa.string()), ("entry", pa.int64()), ("reason", pa.string())])
_COUNTS_SCHEMA = pa.schema(
    [("source", pa.string()), ("class", pa.string()), ("split", pa.string()), ("jets", pa.int64())]
)

Counts = Counter[tuple[str, int, str]]


def convert(
    dataset: Dataset,
    files: Iterable[str | Path],
    outputs: Mapping[str, Sequence[str | Path]],
    rejected_path: str | Path,
    counts_path: str | Path,
) -> None:
    """Convert ROOT files to Parquet; every jet that is read is written or listed as rejected.

    Parameters
    ----------
    dataset : Dataset
        Fractions, seed, and what to do with bad jets.
    files : iterable of paths
        ROOT files in JetClass's format, with different names.
    outputs : mapping from split to paths
        The Parquet files of train, validation and test; jets of each class are mixed through all of them.
    rejected_path : str or path
        Parquet table (source, entry, reason) of jets that are in no split.
    counts_path : str or path
        Parquet table (source, class, split, jets), with rejected jets in the split "rejected".

    Raises
    ------
    InputError
        For files that cannot be read, bad jets (unless they are to be rejected), or a class without
        jets in a split. No output is left then.
    """
    sources = inspect_sources(files)
    with ExitStack() as stack:
        scratch = Path(counts_path).parent
        scratch.mkdir(parents=True, exist_ok=True)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".partial-", dir=scratch)))
        final = {
            path: stack.enter_context(whole_file(path))
            for path in (*(p for paths in outputs.values() for p in paths), rejected_path, counts_path)
        }
        bins = [(split, final[path]) for split in SPLITS for path in outputs[split]]
        rejected, counts = _scatter(dataset, sources, _edges(dataset, outputs), folder)
        for place, (split, path) in enumerate(bins):
            counts += _shuffle(_scattered(folder, place), path, split)
        _check_counts(sources, counts)
        _check_classes(dataset, counts)
        pq.write_table(pa.Table.from_pylist(rejected, _REJECTED_SCHEMA), final[rejected_path])
        pq.write_table(_count_table(counts), final[counts_path])


def inspect_sources(files: Iterable[str | Path]) -> list[JetFile]:
    """Check all ROOT files before any is read.

    Parameters
    ----------
    files : iterable of paths
        ROOT files.

    Returns
    -------
    list of JetFile
        In the order of their names.

    Raises
    ------
    InputError
        Where a file is not as it should be, is empty, shares its name with another, or has truth where
        another has none.
    """
    sources = sorted(map(inspect_jetclass, files), key=lambda source: source.path.name)
    if not sources:
        raise InputError("ROOT files", "files", "no file is given; name at least one")
    for before, source in zip([None, *sources], sources, strict=False):
        if source.entries == 0:
            raise InputError(source.path, "tree", "no jet in it; make it again or leave the file out")
        if before and before.path.name == source.path.name:
            raise InputError(source.path, "name", f"equals that of {before.path}; rename one of the two")
        if before and before.truth != source.truth:
            raise InputError(source.path, "truth_*", f"in one of this file and {before.path} only")
    return sources


def jet_randoms(seed: int, source: str, entries: int) -> NDArray[np.float64]:
    """Two random numbers in [0, 1) for every jet of a source file: its place among the splits, its order.

    Parameters
    ----------
    seed : int
        Seed of the dataset.
    source : str
        Name of the ROOT file, without its folder: where it lies changes nothing.
    entries : int
        Jets in the file; the numbers of an entry do not depend on how many follow it.

    Returns
    -------
    (entries, 2) float64 array
        Place and order.
    """
    name = np.frombuffer(hashlib.sha256(source.encode()).digest(), np.uint32)
    return np.random.default_rng([seed, *name.tolist()]).random((entries, 2))


def _edges(dataset: Dataset, outputs: Mapping[str, Sequence[str | Path]]) -> NDArray[np.float64]:
    """Upper edge of each output file's share of [0, 1), in the order of splits and their files."""
    shares = [
        np.full(len(outputs[split]), getattr(dataset.fractions, split) / len(outputs[split]))
        for split in SPLITS
    ]
    edges = np.cumsum(np.concatenate(shares))
    return edges / edges[-1]


def _scatter(
    dataset: Dataset, sources: Sequence[JetFile], edges: NDArray[np.float64], folder: Path
) -> tuple[list[dict], Counts]:
    """Write every sound jet to the scratch file of its output; give the rejected jets and their counts."""
    schema = jet_schema(sources[0].truth).append(pa.field(_ORDER, pa.float64()))
    rejected: list[dict] = []
    counts: Counts = Counter()
    total = sum(source.entries for source in sources)
    with ExitStack() as stack, Progress(total, "convert", "jets") as progress:
        files = [_scattered(folder, place) for place in range(len(edges))]
        writers = [stack.enter_context(pa.ipc.new_stream(file, schema)) for file in files]
        for source in sources:
            randoms = jet_randoms(dataset.seed, source.path.name, source.entries)
            for table in read_jetclass([source.path]):
                bad = find_bad_jets(table)
                if bad and dataset.bad_jets == "error":
                    raise _refusal(source.path, table, bad[0])
                sound = np.ones(len(table), bool)
                sound[[jet.row for jet in bad]] = False
                rejected += _rejections(table, bad)
                counts += _count(table.filter(~sound), REJECTED)
                _distribute(table.filter(sound), randoms, edges, writers)
                progress.advance(len(table))
    return rejected, counts


def _scattered(folder: Path, place: int) -> Path:
    return folder / f"{place}.arrows"


def _distribute(
    table: pa.Table,
    randoms: NDArray[np.float64],
    edges: NDArray[np.float64],
    writers: Sequence[pa.ipc.RecordBatchStreamWriter],
) -> None:
    """Append each jet to the writer whose share of [0, 1) its first random number falls into."""
    place, order = randoms[table["entry"].to_numpy()].T
    table = sort_by_pt(table).append_column(_ORDER, pa.array(order))
    writer = np.searchsorted(edges, place, side="right")
    grouped = table.take(np.argsort(writer, kind="stable"))
    first = 0
    for target, jets in zip(writers, np.bincount(writer, minlength=len(writers)).tolist(), strict=True):
        target.write_table(grouped.slice(first, jets))
        first += jets


def _refusal(path: Path, table: pa.Table, bad: BadJet) -> InputError:
    field = f"{bad.field} of entry {table['entry'][bad.row]}"
    return InputError(path, field, f"{bad.problem}; with `bad_jets: reject` such jets are listed apart")


def _rejections(table: pa.Table, bad: Sequence[BadJet]) -> list[dict]:
    return [
        {
            "source": table["source"][jet.row].as_py(),
            "entry": table["entry"][jet.row].as_py(),
            "reason": f"{jet.field}: {jet.problem}",
        }
        for jet in bad
    ]


def _shuffle(scattered: Path, target: Path, split: str) -> Counts:
    """Write the jets of a scratch file in random order; count them."""
    with pa.memory_map(str(scattered)) as stream:
        table = pa.ipc.open_stream(stream).read_all().unify_dictionaries()
        table = table.take(np.argsort(table[_ORDER].to_numpy(), kind="stable")).drop_columns([_ORDER])
    write_jets(table, target)
    return _count(table, split)


def _count(table: pa.Table, split: str) -> Counts:
    pairs = zip(table["source"].to_pylist(), table["label"].to_pylist(), strict=True)
    return Counter((source, label, split) for source, label in pairs)


def _check_counts(sources: Sequence[JetFile], counts: Counts) -> None:
    """Every jet that was read is written or rejected."""
    found: Counter[str] = Counter()
    for (name, _, _), jets in counts.items():
        found[name] += jets
    for source in sources:
        if found[source.path.name] != source.entries:
            problem = f"{source.entries} jets were read, {found[source.path.name]} written or rejected"
            raise RuntimeError(f"{source.path}: {problem}")


def _check_classes(dataset: Dataset, counts: Counts) -> None:
    """Every class that is expected has jets in every split: all ten in a simulation, else those seen."""
    seen = {label for _, label, _ in counts} - {NO_LABEL}
    expected = set(range(len(CLASSES))) if dataset.source == "simulation" else seen
    have = {(label, split) for _, label, split in counts}
    for label in sorted(expected):
        if label not in seen:
            raise InputError("ROOT files", f"label_{CLASSES[label]}", "no jet of this class; add its files")
        for split in SPLITS:
            if (label, split) not in have:
                problem = f"no jet of this class in {split}; give more jets or a larger fraction"
                raise InputError("ROOT files", f"label_{CLASSES[label]}", problem)


def _count_table(counts: Counts) -> pa.Table:
    rows = [
        {"source": s, "class": CLASSES[label] if label != NO_LABEL else "none", "split": split, "jets": jets}
        for (s, label, split), jets in sorted(counts.items())
    ]
    return pa.Table.from_pylist(rows, _COUNTS_SCHEMA)
