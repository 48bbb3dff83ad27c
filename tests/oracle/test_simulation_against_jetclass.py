"""Simulated jets against 500 published JetClass jets."""

from pathlib import Path

import awkward as ak
import numpy as np
import pytest

from softjet.figures.simulation import compare, draw_comparison
from softjet.jets.schema import CLASSES

FOLDER = Path(__file__).parents[3] / "shared/data/jets"
MOMENTA = ("part_px", "part_py", "part_pz", "part_energy")


@pytest.fixture(scope="module")
def published():
    if not FOLDER.exists():
        pytest.skip("the 500 JetClass jets are not on this machine")
    vectors, mask, labels = (
        np.load(FOLDER / f"SMALL{name}.npy", allow_pickle=False) for name in ("pfVectors", "pfMask", "labels")
    )
    real = mask[:, 0] > 0
    columns = {name: ak.unflatten(vectors[:, i][real], real.sum(axis=1)) for i, name in enumerate(MOMENTA)}
    return ak.Array(columns | {"label": labels.argmax(axis=1)})


@pytest.fixture(scope="module")
def ours(simulated):
    parts = [(place, simulated(name)) for place, name in enumerate(CLASSES)]
    columns = {name: ak.concatenate([jets[name] for _, jets in parts]) for name in MOMENTA}
    return ak.Array(columns | {"label": np.repeat(np.arange(len(CLASSES)), [len(jets) for _, jets in parts])})


@pytest.fixture(scope="module")
def table(ours, published):
    return compare(ours, published).set_index("class")


def test_mean_multiplicity_over_all(table):
    assert table.loc["all", "reference"] == pytest.approx(39.1, abs=0.05)
    assert table.loc["all", "ratio"] == pytest.approx(1, abs=0.1)


def test_mean_multiplicity_of_each_class(table):
    """Within 10 %, as far as about fifty published and sixty simulated jets can tell."""
    assert (table.ratio_low < 1.1).all()
    assert (table.ratio_high > 0.9).all()


def test_jet_masses(table):
    masses = table.drop("all")
    assert (masses.mass_p > 0.001).all()
    assert masses.mass_ks.mean() < 0.22


def test_constituent_pt(table):
    spectra = table.drop("all")
    assert (spectra.pt_p > 0.001).all()
    assert spectra.pt_ks.mean() < 0.06


def test_a_wrong_class_shows(ours, published):
    """Jets of other masses, multiplicities and spectra do not pass for the right ones."""
    shifted = ak.with_field(published, (published.label + 5) % 10, "label")
    wrong = compare(ours, shifted).set_index("class").drop("all")
    assert (wrong.mass_p < 0.001).sum() >= 5
    assert wrong.ratio_low["H4q"] > 1.1
    assert wrong.ratio_high["Tbl"] < 0.9


def test_the_picture(ours, published, tmp_path):
    draw_comparison(ours, published, tmp_path / "comparison.png")
    assert {path.suffix for path in tmp_path.iterdir()} == {".png", ".pdf"}
