"""Weights that others trained with weaver-core: the published ones and files of the same kind."""

import logging
import pickle
import shutil
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from softjet.config.part import N_FEATURES, ParTModel, Weights
from softjet.errors import InputError
from softjet.part.model import ParticleTransformer
from softjet.part.weaver import import_weaver, weaver_shape
from softjet.provenance.files import check_is_file, sha256, whole_file
from softjet.weights import check_finite

log = logging.getLogger(__name__)

_REPOSITORY = "https://github.com/jet-universe/particle_transformer"
_COMMIT = "29ef32b5020c11d0d22fba01f37a740a72cbbb4d"

PUBLISHED = {
    name: f"{_REPOSITORY}/raw/{_COMMIT}/models/{name}.pt" for name in ("ParT_full", "ParT_kin", "ParT_kinpid")
}
"""Address of each model published with arXiv 2202.03772 (MIT licence), trained on JetClass."""


def fetch_weights(name: str, target: str | Path) -> None:
    """Download a published checkpoint.

    Parameters
    ----------
    name : str
        One of `PUBLISHED`.
    target : path
        The file; it appears whole or not at all.

    Raises
    ------
    InputError
        The name is unknown, or there is no way to the network.
    """
    if name not in PUBLISHED:
        known = ", ".join(PUBLISHED)
        raise InputError("weights.name", name, f"is not published (known: {known}); give weights.folder")
    log.info("Download %s", PUBLISHED[name])
    try:
        with (
            urllib.request.urlopen(PUBLISHED[name], timeout=60) as stream,
            whole_file(target) as partial,
            partial.open("wb") as file,
        ):
            shutil.copyfileobj(stream, file)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        advice = f"download it by hand as {name}.pt and give its folder as weights.folder"
        raise InputError(PUBLISHED[name], "download", f"failed ({error}); {advice}") from error


def import_part(path: str | Path, weights: Weights, unseen: ParTModel | None = None) -> ParticleTransformer:
    """Particle Transformer of a weaver-core checkpoint, its shape read off the weights.

    Parameters
    ----------
    path : path
        The `.pt` file.
    weights : Weights
        Meaning of its head scale, and the digest that it must have if one is given.
    unseen : ParTModel, optional
        Gives what weights do not tell: dropout, number of particles, form of the pair mass, and which feature
        set it is where two have as many features.

    Returns
    -------
    ParticleTransformer
        In evaluation mode.

    Raises
    ------
    InputError
        The file is unreadable, holds more than tensors, has another digest, or does not fit.
    """
    path = Path(path)
    if weights.sha256 and path.is_file() and sha256(path) != weights.sha256:
        raise InputError(path, "sha256", f"is {sha256(path)}, not {weights.sha256} as configured")
    state_dict = read_checkpoint(path)
    ours = import_weaver(state_dict, weights.head_scale, path)
    model = ParticleTransformer(_complete(weaver_shape(state_dict, path), unseen or ParTModel()))
    model.load_state_dict(ours)
    return model.eval()


def _complete(seen: ParTModel, unseen: ParTModel) -> ParTModel:
    names = ["dropout", "max_particles", "pair_mass"]
    if N_FEATURES[seen.features] == N_FEATURES[unseen.features]:
        names.append("features")
    return seen.model_copy(update={name: getattr(unseen, name) for name in names})


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a `torch.save` file; nothing that the file may carry besides is executed.

    Parameters
    ----------
    path : path
        A state dict, or a dict that has one under `state_dict`.

    Raises
    ------
    InputError
        The file is absent, no such file, or holds anything but named tensors of finite numbers.
    """
    check_is_file(path, advice="see docs/weights.md")
    try:
        _check_uncompressed(Path(path))
        found = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except OSError as error:
        raise InputError(path, "file", f"cannot be read ({error.strerror}); see docs/weights.md") from error
    except pickle.UnpicklingError as error:
        problem = "holds objects other than tensors or is damaged; refused, nothing of it was executed"
        raise InputError(path, "pickle", problem) from error
    except Exception as error:  # torch raises nothing more special on what is damaged
        raise InputError(path, "file", "is no checkpoint of torch.save; fetch it again") from error
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in found.items()
    ):
        raise InputError(path, "content", "is no dict of named tensors; give a state dict")
    for key, value in found.items():
        if problem := _unsound(value):
            raise InputError(path, key, f"{problem}; give plain weights")
    check_finite(found.items(), path, "give plain weights")
    return dict(found)


def _check_uncompressed(path: Path) -> None:
    """Refuse a zip with compressed records: torch writes none, and their size could be any."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for record in archive.infolist():
                if record.compress_type != zipfile.ZIP_STORED:
                    raise InputError(
                        path, record.filename, "is compressed, as torch.save does not; fetch it again"
                    )


def _unsound(value: Tensor) -> str:
    """What is wrong with a tensor of a file, if anything is."""
    if value.layout is not torch.strided or value.is_quantized or value.is_meta:
        return f"is no plain tensor but {value.layout} on {value.device}"
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return f"has shape {tuple(value.shape)}, but fewer numbers"
    return ""
