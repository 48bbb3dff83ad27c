"""A run of the workflow as a research object: an RO-Crate of the Workflow Run profiles.

https://www.researchobject.org/workflow-run-crate/profiles/provenance_run_crate/
"""

import base64
import json
import mimetypes
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rocrate.model.contextentity import ContextEntity
from rocrate.model.entity import Entity
from rocrate.rocrate import ROCrate

from softjet.errors import InputError
from softjet.provenance.files import sha256, whole_file
from softjet.provenance.records import Lineage, Record, Step, lineage

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
"""Profiles that the crate follows; they extend RO-Crate 1.1."""

TERMS = {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}
"""What the profiles add to the words of RO-Crate 1.1."""

FORMATS = {
    ".parquet": "application/vnd.apache.parquet",
    ".yaml": "application/yaml",
    "": "text/plain",
}
"""Media types that Python does not know; the rest of what it does not know is a stream of bytes."""

DESCRIPTION = (
    "What softjet computed, how and from what. Beside each file stands its sidecar, <name>.meta.json, with "
    "the same and more. A file named by its SHA-256 alone (ni:) was used and is not part of the crate."
)
RUN = (
    "From the first job whose results stand to the last. Results of earlier runs that were still right were "
    "kept, so that jobs may be of several days."
)
LICENCE = (
    "softjet, the workflow, is under the MIT licence. It says nothing of the results: that is for those to "
    "do who ran it."
)


def write_crate(
    target: str | Path, last: str | Path, workflow: str | Path, configuration: str | Path
) -> None:
    """Describe, from the sidecars, the run that ended in a file.

    The crate is the folder that `target` lies in.

    Parameters
    ----------
    target : path
        `ro-crate-metadata.json` in the folder of results.
    last : path
        What the run was for: the report.
    workflow, configuration : path
        Copies in the folder of the workflow's main file and of all settings.

    Raises
    ------
    InputError
        A sidecar, or a file in the folder, is missing.
    """
    folder = Path(target).parent.absolute()
    crate = _RunCrate(folder, lineage(folder, last))
    crate.describe(Path(last), Path(workflow), Path(configuration))
    with whole_file(target) as partial:
        text = json.dumps(crate.metadata(), indent=1, ensure_ascii=False)
        partial.write_text(text + "\n", encoding="utf-8")


class _RunCrate:
    """A crate in the making."""

    def __init__(self, folder: Path, behind: Lineage) -> None:
        self.folder, self.behind = folder, behind
        self.crate = ROCrate(version="1.1")
        self.crate.metadata.extra_terms.update(TERMS)

    def metadata(self) -> dict[str, Any]:
        """The crate as JSON-LD; a list of one thing is the thing, as RO-Crate recommends."""
        document = self.crate.metadata.generate()
        graph = [{key: _single(value) for key, value in entity.items()} for entity in document["@graph"]]
        return document | {"@graph": graph}

    def describe(self, last: Path, workflow: Path, configuration: Path) -> None:
        """Put everything in: workflow, run, jobs, what they used and what they made."""
        steps = self.behind.steps
        began, ended = steps[0].record.started, max(step.record.ended for step in steps)
        main = self._workflow(workflow, steps[-1].record)
        settings = self._copy(configuration)
        sources = [self._file(name, digest) for name, digest in self.behind.sources.items()]
        actions = [self._action(number, step) for number, step in enumerate(steps, start=1)]
        made = {name: self._file(name, digest) for step in steps for name, digest in step.outputs.items()}
        main["hasPart"] = list({action["instrument"].id: action["instrument"] for action in actions}.values())
        main["input"] = [self._parameter("configuration", settings)]
        main["output"] = [self._parameter("report", self._copy(last))]
        facts = {"name": "Run of softjet", "description": RUN, **_times(began, ended)}
        run = self.crate.add_action(main, "#run", [settings, *sources], [*made.values()], facts)
        self._root([run, *actions], ended)

    def _root(self, actions: list[Entity], ended: datetime) -> None:
        root = self.crate.root_dataset
        root["name"], root["description"] = "A run of softjet", DESCRIPTION
        root["license"] = self._context("#licence", "CreativeWork", name="No licence", description=LICENCE)
        root["conformsTo"] = [
            self._context(address, "CreativeWork", name=name, version=address.rpartition("/")[2])
            for address, name in PROFILES.items()
        ]
        root["mentions"] = actions
        # Of the run, not of the writing: the same run is described by the same bytes.
        self.crate.datePublished = ended.isoformat(timespec="seconds")

    def _workflow(self, path: Path, newest: Record) -> Entity:
        commit = newest.commit
        version = f"{commit.get('id') or 'unknown commit'}{', with changes' if commit.get('dirty') else ''}"
        needs = [
            self._context(f"#package-{name}", "SoftwareApplication", name=name, softwareVersion=version)
            for name, version in newest.versions.items()
        ]
        return self.crate.add_workflow(
            dest_path=path.absolute().relative_to(self.folder),
            main=True,
            lang="snakemake",
            lang_version=newest.versions["snakemake"],
            properties={
                **_facts(path, sha256(path)),
                "name": "softjet",
                "version": version,
                "softwareRequirements": needs,
                "conformsTo": {"@id": "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"},
            },
        )

    def _action(self, number: int, step: Step) -> Entity:
        """A job: which rule ran, on what, with which parameters, where, when and what came out."""
        record = step.record
        tool = self._context(
            f"#rule-{record.rule}",
            "SoftwareApplication",
            name=record.rule,
            description=f"The rule {record.rule} of the workflow; its version is the digest of its code.",
            softwareVersion=record.code,
        )
        parameters = self._context(
            f"#job-{number}-parameters",
            "PropertyValue",
            name="section",
            value=json.dumps(record.section, sort_keys=True, ensure_ascii=False),
        )
        used = [self._file(name, digest) for name, digest in record.inputs.items()]
        made = [self._file(name, digest) for name, digest in step.outputs.items()]
        facts = {"name": record.rule, "description": _where(record), **_times(record.started, record.ended)}
        return self.crate.add_action(tool, f"#job-{number}", [*used, parameters], made, facts)

    def _parameter(self, name: str, example: Entity) -> Entity:
        """A slot of the workflow, and the file that this run had in it."""
        slot = self.crate.add_formal_parameter(name, "File", f"#slot-{name}", valueRequired=True)
        slot["workExample"], example["exampleOfWork"] = example, slot
        return slot

    def _file(self, name: str, digest: str) -> Entity:
        """A file by its recorded name and digest."""
        return self._entity(self.behind.place.find(name), name, digest)

    def _copy(self, path: Path) -> Entity:
        """A file of the crate by where it stands."""
        path = path.absolute()
        return self._entity(path, path.relative_to(self.folder).as_posix(), sha256(path))

    def _entity(self, path: Path, name: str, digest: str) -> Entity:
        """A file of the crate is named by its place, any other by its digest (RFC 6920)."""
        inside = path.relative_to(self.folder) if path.is_relative_to(self.folder) else None
        digits = base64.urlsafe_b64encode(bytes.fromhex(digest)).decode().rstrip("=")
        identifier = quote(inside.as_posix()) if inside else f"ni:///sha-256;{digits}"
        known = self.crate.get(identifier)
        if known is not None:
            return known
        if inside and not path.is_file():
            raise InputError(
                path, "file", "is missing, and the report was made from it; run the workflow again"
            )
        facts = {"name": name, **_facts(path, digest)}
        source = {"dest_path": inside} if inside else {"source": identifier}
        return self.crate.add_file(**source, properties=facts)

    def _context(self, identifier: str, kind: str, **properties: Any) -> Entity:
        return self.crate.add(ContextEntity(self.crate, identifier, {"@type": kind, **properties}))


def _facts(path: Path, digest: str) -> dict[str, str]:
    """Digest, media type and, of a file that is there, size."""
    kind = FORMATS.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    size = {"contentSize": str(path.stat().st_size)} if path.is_file() else {}
    return {"sha256": digest, "encodingFormat": kind, **size}


def _single(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _times(began: datetime, ended: datetime) -> dict[str, str]:
    """When an action was, and that it came to its end: what failed leaves no sidecar."""
    return {
        "startTime": began.isoformat(timespec="seconds"),
        "endTime": ended.isoformat(timespec="seconds"),
        "actionStatus": "http://schema.org/CompletedActionStatus",
    }


def _where(record: Record) -> str:
    commit = record.commit.get("id") or "unknown"
    return (
        f"{record.threads} threads of {record.host.get('processor')}, device {record.device}, commit {commit}"
        f"{' with changes' if record.commit.get('dirty') else ''}, environment {record.environment}"
    )
