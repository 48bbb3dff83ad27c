"""Results, and what they were made from, against the digests that the sidecars recorded.

`python -m softjet.provenance.verify results` says in one line each what does not match.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from softjet.errors import InputError
from softjet.provenance.files import sha256
from softjet.provenance.records import Place, read_record
from softjet.provenance.sidecar import SUFFIX, sidecar_path

NOT_MADE = "README.md"
"""The one file in the folder of results that no rule writes."""


@dataclass
class Findings:
    """What a folder of results holds, and what of it no longer matches.

    Attributes
    ----------
    artefacts : int
        Files in the folder, without sidecars.
    inputs : int
        Files that they were made from, each counted once.
    problems : list of str
        A line each.
    """

    artefacts: int = 0
    inputs: int = 0
    problems: list[str] = field(default_factory=list)


def verify(folder: str | Path) -> Findings:
    """Compare everything in a folder of results, and its inputs, with the sidecars.

    The folder may have been moved, alone or together with what it was made from.

    Parameters
    ----------
    folder : path
        The folder of results, `paths.results` of the configuration.

    Raises
    ------
    InputError
        There is no such folder, or nothing is in it.
    """
    comparison = _Comparison(Path(folder).absolute())
    problems = [*comparison.of_artefacts(), *comparison.of_sidecars(), *comparison.of_inputs()]
    inputs = {path for path, _ in comparison.made_from}
    return Findings(len(comparison.artefacts), len(inputs), problems)


class _Comparison:
    """A folder of results under comparison; every file is read once."""

    def __init__(self, folder: Path) -> None:
        files = sorted(path for path in folder.rglob("*") if not path.is_dir())
        self.folder, self.digest = folder, cache(_digest)
        self.sidecars = [path for path in files if path.name.endswith(SUFFIX)]
        self.artefacts = sorted({*files} - {*self.sidecars, folder / NOT_MADE})
        self.made_from: dict[tuple[Path, str], list[Path]] = {}
        if not self.artefacts:
            raise InputError(folder, "folder", "holds no results; run the workflow, or give another folder")

    def of_artefacts(self) -> Iterator[str]:
        """What is wrong with each artefact; notes, on the way, what they were made from."""
        for path in self.artefacts:
            if not sidecar_path(path).is_file():
                yield f"{_shown(path)}: without sidecar: no rule is known to have made it"
                continue
            try:
                yield from self._of_artefact(path)
            except InputError as error:
                yield str(error)

    def _of_artefact(self, path: Path) -> Iterator[str]:
        record = read_record(path)
        place = Place.of(self.folder, path, record.artefact)
        if place is None:
            yield f"{_shown(path)}: moved: it was made as {record.artefact}"
            return
        if self.digest(path) != record.sha256:
            yield f"{_shown(path)}: changed since it was made"
        for name, digest in record.inputs.items():
            self.made_from.setdefault((place.find(name), digest), []).append(path)

    def of_sidecars(self) -> Iterator[str]:
        """Sidecars whose artefact is gone."""
        for path in self.sidecars:
            artefact = path.with_name(path.name.removesuffix(SUFFIX))
            if artefact not in self.artefacts:
                yield f"{_shown(artefact)}: missing: only its sidecar is there"

    def of_inputs(self) -> Iterator[str]:
        """Inputs that are no longer what something was made from."""
        for (path, recorded), made in sorted(self.made_from.items()):
            these = _shown(made[0]) + (f" and {len(made) - 1} more" if made[1:] else "")
            if path.is_file():
                if self.digest(path) != recorded:
                    yield f"{_shown(path)}: changed since {these} was made from it"
            elif not _was_temporary(path, recorded):
                yield f"{_shown(path)}: missing, and {these} was made from it"


def _was_temporary(path: Path, digest: str) -> bool:
    """Whether a file that is gone left a sidecar of this digest, as a rule's temporary output does."""
    try:
        return read_record(path).sha256 == digest
    except InputError:
        return False


def _digest(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        return f"unreadable: {error.strerror}"


def _shown(path: Path) -> str:
    """A path as a user would type it here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def main(folder: str) -> int:
    """Print what does not match; the exit status is 1 if anything does not."""
    try:
        found = verify(folder)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    for problem in found.problems:
        print(problem)
    counts = f"{found.artefacts} artefacts and the {found.inputs} files that they were made from"
    print(f"{folder}: {counts}: {len(found.problems) or 'nothing'} amiss")
    return 1 if found.problems else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("give the folder of results, as in: python -m softjet.provenance.verify results")
    sys.exit(main(sys.argv[1]))
