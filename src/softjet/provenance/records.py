"""Sidecars read back: what was made of what, and where the files stand now."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path, PurePath
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from softjet.errors import InputError
from softjet.provenance.sidecar import sidecar_path


class Record(BaseModel):
    """What a sidecar says of its artefact; see `softjet.provenance.job` for what writes it."""

    model_config = ConfigDict(frozen=True)

    artefact: str
    sha256: str
    rule: str
    section: dict[str, Any]
    code: str
    environment: str
    inputs: dict[str, str]
    outputs: tuple[str, ...]
    started: datetime
    wall_seconds: float
    commit: dict[str, Any]
    versions: dict[str, str]
    host: dict[str, Any]
    device: str
    threads: int

    @property
    def ended(self) -> datetime:
        """When the job was done."""
        return self.started + timedelta(seconds=self.wall_seconds)


def read_record(artefact: str | Path) -> Record:
    """Read the sidecar of an artefact, which need not be there itself.

    Raises
    ------
    InputError
        The sidecar is missing, or is none.
    """
    path = sidecar_path(artefact)
    try:
        return Record.model_validate_json(path.read_bytes())
    except OSError:
        raise InputError(path, "sidecar", "cannot be read; run the workflow again") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "sidecar"
        raise InputError(path, field, f"{first['msg']}; delete the artefact and run again") from None


@dataclass(frozen=True)
class Place:
    """Where a folder of results stands, and by what name it was made.

    Attributes
    ----------
    now : Path
        The folder, absolute.
    then : PurePath
        Its name in the sidecars, most often relative to where the workflow ran.
    """

    now: Path
    then: PurePath

    @classmethod
    def of(cls, folder: str | Path, path: Path, recorded: str) -> "Place | None":
        """Place of a folder by one file in it and the name that the file was made by; None if they differ."""
        now, name = Path(folder).absolute(), PurePath(recorded)
        inside = path.absolute().relative_to(now).parts
        if name.parts[-len(inside) :] != inside:
            return None
        return cls(now, PurePath(*name.parts[: -len(inside)]))

    def find(self, recorded: str) -> Path:
        """Where a file stands whose name was recorded in this place: in the folder, or beside it."""
        name = PurePath(recorded)
        if name.is_relative_to(self.then):
            return self.now / name.relative_to(self.then)
        return self._beside / name

    @property
    def _beside(self) -> Path:
        """Where the workflow ran: above the folder if that still has its name, else the working directory."""
        depth = len(self.then.parts)
        same = self.now.parts[-depth:] == self.then.parts if depth else True
        if self.then.is_absolute() or ".." in self.then.parts or not same:
            return Path.cwd()
        return self.now.parents[depth - 1] if depth else self.now


@dataclass(frozen=True)
class Step:
    """A job that ran.

    Attributes
    ----------
    record : Record
        What the sidecars of all its outputs say alike.
    outputs : dict of str to str
        Digests of what it made, by recorded name.
    """

    record: Record
    outputs: dict[str, str]


@dataclass(frozen=True)
class Lineage:
    """All that a file was made from.

    Attributes
    ----------
    place : Place
        Where the recorded names are found.
    steps : list of Step
        Jobs, in the order in which they began.
    sources : dict of str to str
        Digests of the files that no job made, by recorded name.
    """

    place: Place
    steps: list[Step]
    sources: dict[str, str]


def lineage(folder: str | Path, last: str | Path) -> Lineage:
    """Follow a result back through the sidecars.

    Parameters
    ----------
    folder : path
        The folder of results.
    last : path
        A file in it.

    Raises
    ------
    InputError
        A sidecar is missing or is none.
    """
    recorded = read_record(last)
    place = Place.of(folder, Path(last), recorded.artefact)
    if place is None:
        raise InputError(last, "artefact", f"was made as {recorded.artefact}; move it back or run again")
    steps, sources, known = [], dict[str, str](), set[str]()
    ahead = {recorded.artefact: recorded.sha256}
    while ahead:
        name, digest = ahead.popitem()
        if name in known:
            continue
        step = _step(place, name)
        if step is None:
            sources[name] = digest
            known.add(name)
        else:
            steps.append(step)
            known |= {name, *step.outputs}
            ahead |= step.record.inputs
    steps.sort(key=lambda s: (s.record.started, s.record.outputs))
    return Lineage(place, steps, dict(sorted(sources.items())))


def _step(place: Place, name: str) -> Step | None:
    """The job that made a file; None if no job of this workflow did."""
    path = place.find(name)
    if not sidecar_path(path).is_file():
        return None
    record = read_record(path)
    if record.artefact != name:
        return None  # made by another workflow, where it had another name
    outputs = {output: read_record(place.find(output)).sha256 for output in record.outputs}
    return Step(record, outputs)
