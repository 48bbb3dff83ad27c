"""Start a training from another model's weights."""

from pathlib import Path

from softjet.config.part import ParTModel
from softjet.errors import InputError
from softjet.part.checkpoint import WEIGHTS, load_part
from softjet.part.model import ParticleTransformer


def start_from(model: ParticleTransformer, folder: str | Path) -> None:
    """Give a model the weights of a trained one; a head for other classes stays as it was drawn.

    Parameters
    ----------
    model : ParticleTransformer
        Changed in place.
    folder : path
        Of the trained model.

    Raises
    ------
    InputError
        The models differ in more than their number of classes.
    """
    trained, own = load_part(folder).state_dict(), model.state_dict()
    if model.head.out_features != trained["head.bias"].shape[0]:
        trained |= {name: own[name] for name in ("head.weight", "head.bias")}
    for name in sorted(own.keys() ^ trained.keys()):
        problem = "is not in the model to start from" if name in own else "is not in this run's model"
        raise InputError(Path(folder) / WEIGHTS, name, f"{problem}: give both the same model section")
    for name, value in own.items():
        if trained[name].shape != value.shape:
            shapes = f"{tuple(trained[name].shape)}, in this run's model {tuple(value.shape)}"
            problem = f"has shape {shapes}: give both the same model section, features included"
            raise InputError(Path(folder) / WEIGHTS, name, problem)
    model.load_state_dict(trained)


def starting_network(shape: ParTModel, folder: str | Path) -> ParticleTransformer:
    """The network that a fine-tuning begins with, but for a head that is drawn anew.

    Parameters
    ----------
    shape : ParTModel
        Of the network that is fine-tuned.
    folder : path
        Of the trained model.

    Returns
    -------
    ParticleTransformer
        In evaluation mode.

    Raises
    ------
    InputError
        As of `start_from`.
    """
    model = ParticleTransformer(shape)
    start_from(model, folder)
    return model.eval()
