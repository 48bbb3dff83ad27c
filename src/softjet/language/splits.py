"""Where the files of a split lie in a folder."""

import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from softjet.errors import InputError

log = logging.getLogger(__name__)

_PIECE = re.compile(r"-(\d{1,6})-of-(\d{1,6})(?=\.)")
"""Number of a piece, from 0, and of all pieces: train-00000-of-00002.parquet."""


def split_files(folder: str | Path, splits: Sequence[str], suffixes: Sequence[str]) -> list[Path]:
    """Files of a split: named after it, or in a folder named after it, as data sets on the hub are laid out.

    A folder (or a file name) counts up to its first point or dash: train-00000-of-00001.parquet,
    train/data-00000-of-00001.arrow, train.tsv, wiki.train.raw. Hidden ones are left out: they are copies of
    editors and half-done downloads.

    Parameters
    ----------
    folder : str or path
        Folder, searched with all folders in it; or one file, which is then the split.
    splits : sequence of str
        Names of the split, the usual first: the others count where it has no files.
    suffixes : sequence of str
        Ends of the names of files that can be read.

    Returns
    -------
    list of Path
        Files of one format, in the order of their names.

    Raises
    ------
    InputError
        There is no such file, there are files of several formats, or some of several pieces are missing.
    """
    folder = Path(folder)
    if folder.is_file():
        return [folder]
    files = _readable(folder, suffixes)
    found = next(filter(None, (_named(files, folder, split) for split in splits)), [])
    if not found and splits[0] == "train" and len(files) == 1:
        return files  # text that comes in no splits is text to learn from
    if not found:
        wanted = f"no file of {' or '.join(splits)}, ending with {', '.join(suffixes)}; name one by its split"
        raise InputError(folder, splits[0], wanted)
    formats = {path.suffix for path in found}
    if len(formats) > 1:
        several = f"there are files of several formats ({', '.join(sorted(formats))}); leave those of one"
        raise InputError(folder, splits[0], several)
    _check_shards(found)
    names = ", ".join(path.relative_to(folder).as_posix() for path in found)
    log.info("%s: %s: %s", folder, splits[0], names)
    return found


def _check_shards(files: Sequence[Path]) -> None:
    """Raise where a data set in pieces, of which each name tells how many there are, lacks some."""
    pieces: dict[tuple[Path, str, int], set[int]] = {}
    for path in files:
        if named := _PIECE.search(path.name):
            whole = (path.parent, path.name[: named.start()] + path.name[named.end() :], int(named[2]))
            pieces.setdefault(whole, set()).add(int(named[1]))
    for (folder, _, count), there in pieces.items():
        if missing := sorted(set(range(count)) - there):
            problem = f"piece {missing[0]} of {count} is missing ({len(missing)} are); fetch the files again"
            raise InputError(folder, "split", problem)


def _readable(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    paths = (path for path in sorted(folder.rglob("*")) if path.name.endswith(tuple(suffixes)))
    seen = (path for path in paths if not any(n.startswith(".") for n in path.relative_to(folder).parts))
    return [path for path in seen if path.is_file()]


def _named(files: Iterable[Path], folder: Path, split: str) -> list[Path]:
    name = re.compile(rf"(^|[/.]){split}([-./]|$)")
    return [path for path in files if name.search(path.relative_to(folder).as_posix())]


def task_folder(folder: str | Path, names: Sequence[str]) -> Path:
    """Folder of a task in a folder of many, or the folder itself where it has none of these names."""
    inner = (Path(folder) / name for name in names)
    return next((path for path in inner if path.is_dir()), Path(folder))
