"""What a case of the corpus is, and ways to spoil a file."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Case(NamedTuple):
    """A bad input.

    Attributes
    ----------
    read : callable
        Reads what `make` gives; its second argument is a folder for what it writes.
    make : callable
        Writes the bad file into a folder and gives what is read.
    words : tuple of str
        All stand in the message: the part at fault, and what is wrong or to be done.
    """

    read: Callable[[Any, Path], object]
    make: Callable[[Path], Any]
    words: tuple[str, ...]


class Payload:
    """Writes a file named EXECUTED when a pickle of it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.target = folder / "EXECUTED"

    def __reduce__(self) -> tuple:
        return os.open, (str(self.target), os.O_CREAT | os.O_WRONLY)


def content(name: str, data: bytes) -> Callable[[Path], Path]:
    """Maker of a file with this content."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return make


def changed(make: Callable[[Path], Path], change: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    """Maker of a file that is sound but for this change of its bytes."""

    def spoil(folder: Path) -> Path:
        path = make(folder)
        path.write_bytes(change(path.read_bytes()))
        return path

    return spoil


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write a zip."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def zip_of_zeros(path: Path, name: str, start: bytes, zeros: int) -> Path:
    """Write a zip with one member of `start` and so many zeros, in little memory."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(name, "w", force_zip64=True) as file,
    ):
        file.write(start)
        for _ in range(zeros >> 20):
            file.write(bytes(1 << 20))
    return path
