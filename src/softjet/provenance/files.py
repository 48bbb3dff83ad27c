"""Whole-or-nothing files and their digests."""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from softjet.errors import InputError


@contextmanager
def whole_file(target: str | Path) -> Iterator[Path]:
    """Give a temporary name beside `target` and move it there only if the block succeeds.

    The temporary name keeps the suffix, since some writers choose the format by it. A reader
    never sees half a file: the move is atomic, and what a failed block left is removed.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".partial-{os.getpid()}-{target.name}")
    try:
        yield partial
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def remove_partials(target: str | Path) -> None:
    """Remove what killed processes left beside a target when they were writing it."""
    target = Path(target)
    name = re.compile(rf"\.partial-\w+-{re.escape(target.name)}")
    for left in target.parent.glob(".partial-*"):
        if not name.fullmatch(left.name):
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


class Frame(Protocol):
    """A pandas table."""

    def to_parquet(self, path: Any, *, compression: Any, index: bool) -> Any:
        """Write the table."""


def check_is_file(path: str | Path, field: str = "file", advice: str = "give the file") -> None:
    """Refuse a folder, a device or a pipe, where reading might wait for ever; what is absent passes.

    Raises
    ------
    InputError
        Something other than a file is there.
    """
    if Path(path).exists() and not Path(path).is_file():
        raise InputError(path, field, f"is no file but a folder or device; {advice}")


def write_tables(tables: Mapping[str | Path, Frame]) -> None:
    """Write pandas tables as Parquet (zstd, without their index), each whole or not at all."""
    for target, table in tables.items():
        with whole_file(target) as partial:
            table.to_parquet(partial, compression="zstd", index=False)


def sha256(path: str | Path) -> str:
    """Hex SHA-256 of a file's content."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
