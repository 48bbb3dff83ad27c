"""The explorer of attention: one HTML file that shows the jets whose maps are kept whole, without network.

The file holds the two parts of the logits, QK and U, rounded; the browser adds them up and takes the
softmax. That is smaller than weights beside logits, and finer than weights in one byte.
"""

import base64
import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
import numpy as np
import pandas as pd
import pyarrow as pa
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from softjet.errors import InputError
from softjet.figures.attention import IDENTITY
from softjet.figures.style import COLOURS, SEQUENTIAL
from softjet.jets.schema import CLASSES, table_facts
from softjet.provenance.files import whole_file

STEP = 1 / 128
"""Logits are rounded to whole multiples of this, or of a multiple of it where a jet's do not fit 16 bits."""

DIVERGING = "PuOr_r"
"""Colour map of logits, white at 0; safe for the colour-blind."""

PARTICLE = ("deta", "dphi", "pt", "identity", "subjet")
"""What the page knows of a particle."""

FACTS = ("source", "entry", "pt", "mass", "sdmass", "predicted", "probability")
"""What the page may know of a jet."""


@dataclass(frozen=True)
class PackedJet:
    """Logits of a jet as text: `step` of the rounding, and how far its weights are from the recorded ones."""

    text: str
    step: float
    difference: float


def write_explorer(
    target: str | Path,
    title: str,
    maps: pd.DataFrame,
    particles: pd.DataFrame,
    facts: pd.DataFrame,
    classes: Sequence[str] = CLASSES,
) -> None:
    """Write the explorer of all jets in a maps table.

    Parameters
    ----------
    target : path
        The HTML file; it needs no other file and no network.
    title : str
        Which network on which jets.
    maps, particles : DataFrame
        The maps and particles tables of `softjet.attention.dataset`.
    facts : DataFrame
        A row a jet: jet, and those of `FACTS` that are known; `jet_facts` makes it.
    classes : sequence of str
        Names of the classes, as the metadata of the maps table has them (`softjet.jets.schema.table_facts`).

    Raises
    ------
    InputError
        The maps table holds no jet.
    """
    if maps.empty:
        raise InputError("attention", "maps", "the table holds no jet: set attention.maps to 1 or more")
    shape = (int(maps.layer.max()) + 1, int(maps["head"].max()) + 1)
    jets, packed = [], []
    for jet, rows in maps.groupby("jet"):
        own = particles[particles.jet == jet].sort_values("particle")
        packed.append(pack_jet(*_logits(rows, shape), _stack(rows, "weights", shape)))
        place = {"jet": int(str(jet)), "label": int(rows.label.iloc[0]), "step": packed[-1].step}
        jets.append(place | _known(facts[facts.jet == jet], own))
    index = {
        "shape": shape,
        "jets": jets,
        "first": _first(jets),
        "classes": list(classes),
        "identities": [list(kind) for kind in IDENTITY],
        "colours": _colours(),
        "difference": max(one.difference for one in packed),
    }
    page = _render(title=title, index=index, packed=[one.text for one in packed])
    with whole_file(target) as partial:
        partial.write_text(page, encoding="utf-8")


def jet_facts(jets: pa.Table, places: Sequence[int], probabilities: NDArray[np.float32]) -> pd.DataFrame:
    """What the explorer tells of each jet.

    Parameters
    ----------
    jets : Table
        N jets in the schema of `softjet.jets.schema`.
    places : sequence of int
        Their places in the sample.
    probabilities : (N, C)
        What the network gives each class; used where these are the classes that the jets' metadata names.

    Returns
    -------
    DataFrame
        jet, source, entry, pt, mass and sdmass (GeV), predicted (name of a class), probability.
    """
    pt, eta, energy = (jets[f"jet_{name}"].to_numpy().astype(float) for name in ("pt", "eta", "energy"))
    facts = pd.DataFrame(
        {
            "jet": places,
            "source": jets["source"].cast(pa.string()).to_pylist(),
            "entry": jets["entry"].to_numpy(),
            "pt": pt,
            "mass": np.sqrt(np.maximum(energy**2 - (pt * np.cosh(eta)) ** 2, 0)),
            "sdmass": jets["jet_sdmass"].to_numpy(),
        }
    )
    classes = table_facts(jets.schema).classes
    if probabilities.shape[1] != len(classes):
        return facts
    best = [classes[place] for place in probabilities.argmax(1)]
    return facts.assign(predicted=best, probability=probabilities.max(1))


def pack_jet(qk: NDArray, bias: NDArray, weights: NDArray) -> PackedJet:
    """Pack the logits of a jet of n particles: rounded, split into their bytes, deflated, in base64.

    Parameters
    ----------
    qk, weights : (L, H, n, n)
        q.k / sqrt(D) and the recorded attention; rows are queries.
    bias : (H, n, n)
        Pair bias, which all layers share.

    Returns
    -------
    PackedJet
        Its text holds qk and then bias.
    """
    logits = np.concatenate([qk.ravel(), bias.ravel()]).astype(np.float64)
    step = STEP * 2.0 ** np.ceil(np.log2(max(1.0, np.abs(logits).max() / STEP / 32767)))
    whole = np.rint(logits / step).astype("<i2")
    # All low bytes before all high ones, which repeat and deflate to little.
    planes = whole.view(np.uint8).reshape(-1, 2).T.tobytes()
    rounded = step * whole[: qk.size].reshape(qk.shape) + step * whole[qk.size :].reshape(bias.shape)
    difference = np.abs(_softmax(rounded) - weights).max()
    return PackedJet(base64.b64encode(zlib.compress(planes)).decode(), float(step), float(difference))


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def _logits(rows: pd.DataFrame, shape: tuple[int, int]) -> tuple[NDArray, NDArray]:
    """QK (L, H, n, n) and U (H, n, n) of one jet's rows of the maps table."""
    return _stack(rows, "qk", shape), _stack(rows, "bias", shape)[0]


def _stack(rows: pd.DataFrame, column: str, shape: tuple[int, int]) -> NDArray[np.float32]:
    n = int(rows.n.iloc[0])
    values = np.stack(rows.sort_values(["layer", "head"])[column].to_list())
    return values.astype(np.float32).reshape(*shape, n, n)


def _known(facts: pd.DataFrame, particles: pd.DataFrame) -> dict[str, Any]:
    """Facts of one jet and of its particles, in falling pT; what is not known is left out."""
    # JSON has no infinity, and a format's own soft-drop mass may be anything.
    finite = facts.replace([np.inf, -np.inf], np.nan)
    jet = {name: finite[name].iloc[0] for name in FACTS if name in finite and finite[name].notna().all()}
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in jet.items()}
    columns = {name: np.round(particles[name].to_numpy(float), 4).tolist() for name in PARTICLE}
    return plain | {"n": len(particles), "particles": columns}


def _first(jets: Sequence[Mapping[str, Any]]) -> int:
    """The jet that the page opens with: the first that has more than one subjet, if any."""
    return next((place for place, jet in enumerate(jets) if max(jet["particles"]["subjet"]) > 0), 0)


def _colours() -> dict[str, Any]:
    """Colours of subjets, and both colour maps in 256 steps."""
    steps = np.linspace(0, 1, 256)
    maps = {"sequential": SEQUENTIAL, "diverging": DIVERGING}
    return {"subjets": COLOURS} | {
        name: [to_hex(colour) for colour in mpl.colormaps[which](steps)] for name, which in maps.items()
    }


def _render(**content: Any) -> str:
    """The page; its policy lets it run its own script and style and load nothing."""
    here = Path(__file__).parent
    # Whole names: by them the digest of the code knows that these files are behind the page.
    files = {"js": "explorer.js", "css": "explorer.css"}
    inline = {kind: (here / name).read_text(encoding="utf-8") for kind, name in files.items()}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("explorer.html.j2").render(
        script=inline["js"],
        style=inline["css"],
        script_digest=_policy_digest(inline["js"]),
        style_digest=_policy_digest(inline["css"]),
        **content,
    )


def _policy_digest(text: str) -> str:
    """SHA-256 as a content security policy writes it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
