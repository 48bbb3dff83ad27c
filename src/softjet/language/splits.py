"""Where the files of a split lie in a folder."""

import re
from collections.abc import Sequence
from pathlib import Path

from softjet.errors import InputError


def split_files(folder: str | Path, splits: Sequence[str], suffixes: Sequence[str]) -> list[Path]:
    """Files of a split: named after it, or in a folder named after it, as data sets on the hub are laid out.

    A folder (or a file name) counts up to its first point or dash: train-00000-of-00001.parquet,
    train/data-00000-of-00001.arrow, train.tsv, wiki.train.raw.

    Parameters
    ----------
    folder : str or path
        Folder, searched with all folders in it; or one file, which is then the split.
    splits : sequence of str
        Names of the split, the usual first.
    suffixes : sequence of str
        Ends of the names of files that can be read.

    Returns
    -------
    list of Path
        Files of one format, in the order of their names.

    Raises
    ------
    InputError
        There is no such file, or there are files of several formats.
    """
    folder = Path(folder)
    if folder.is_file():
        return [folder]
    named = re.compile(rf"(^|[/.])({'|'.join(splits)})([-./]|$)")
    files = [
        path for path in sorted(folder.rglob("*")) if path.name.endswith(tuple(suffixes)) and path.is_file()
    ]
    found = [path for path in files if named.search(path.relative_to(folder).as_posix())]
    if not found and splits[0] == "train" and len(files) == 1:
        return files  # text that comes in no splits is text to learn from
    if not found:
        wanted = f"no file of {' or '.join(splits)}, ending with {', '.join(suffixes)}; name one by its split"
        raise InputError(folder, splits[0], wanted)
    formats = {path.suffix for path in found}
    if len(formats) > 1:
        several = f"there are files of several formats ({', '.join(sorted(formats))}); leave those of one"
        raise InputError(folder, splits[0], several)
    return found


def task_folder(folder: str | Path, names: Sequence[str]) -> Path:
    """Folder of a task in a folder of many, or the folder itself where it has none of these names."""
    inner = (Path(folder) / name for name in names)
    return next((path for path in inner if path.is_dir()), Path(folder))
