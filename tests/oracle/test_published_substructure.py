"""Substructure of 100 published JetClass-II jets against the values in their file."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from softjet.jets.agreement import compare_with_file, spread
from softjet.jets.observables import momenta_of
from softjet.jets.tables import list_column, list_values

EXAMPLE = Path(__file__).parents[3] / "shared/data/jets/JetClassII_example.parquet"
MEDIAN_WITHIN = {"jet_sdmass": 0.01, "jet_tau1": 0.01, "jet_tau2": 0.01, "jet_tau3": 0.01, "jet_tau4": 0.02}
LEAST_WITHIN_5_PERCENT = 0.5

pytestmark = pytest.mark.skipif(
    not EXAMPLE.exists(), reason="the example jets of JetClass-II are not on this machine"
)


@pytest.fixture(scope="module")
def table():
    return pq.read_table(EXAMPLE)


def test_medians_equal_the_files_and_single_jets_spread(table):
    found = spread(compare_with_file(table)).set_index("observable")
    print(found.round(3).to_string())
    assert list(found.index) == list(MEDIAN_WITHIN)
    for name, tolerance in MEDIAN_WITHIN.items():
        row = found.loc[name]
        assert abs(row.q50 - 1) < tolerance, (name, row.q50)
        assert row.within_5 >= LEAST_WITHIN_5_PERCENT, (name, row.within_5)
        assert row.q25 > 0.9, (name, row.q25)
        assert row.q75 < 1.03, (name, row.q75)


def with_tracks_turned(table):
    """Particles such that their sum has the file's jet_eta: one shift of cot(theta) for a jet's charged ones.

    The stored tracks point away from the collision's own vertex, those of the file's jets seem to be seen
    from the middle of the detector; a vertex off by z shifts cot(theta) by z over a radius.
    """
    momenta, offsets = momenta_of(table)
    jet = np.repeat(np.arange(len(table)), np.diff(offsets))
    charged = list_values(table, "part_charge") != 0
    px, py, pz, energy = momenta.T
    pt = np.hypot(px, py)
    lacking = table["jet_pt"].to_numpy() * np.sinh(table["jet_eta"].to_numpy()) - np.bincount(jet, pz)
    turned = pz + charged * (lacking / np.maximum(np.bincount(jet, pt * charged), 1e-9))[jet] * pt
    turned_energy = np.sqrt(np.maximum(0, energy**2 - pz**2) + turned**2)
    columns = zip(("part_pz", "part_energy"), (turned, turned_energy), strict=True)
    lengths, floats = np.diff(offsets), pa.list_(pa.float32())
    for name, values in columns:
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, list_column(values, lengths, floats))
    return table


def test_the_spread_comes_from_the_polar_angles_of_tracks(table):
    px, py, _, energy = np.add.reduceat(momenta_of(table)[0], momenta_of(table)[1][:-1]).T
    np.testing.assert_allclose(np.hypot(px, py), table["jet_pt"], rtol=1e-5)
    assert np.median(np.abs(energy / table["jet_energy"].to_numpy() - 1)) > 1e-3
    found = spread(compare_with_file(with_tracks_turned(table))).set_index("observable")
    print(found.round(4).to_string())
    assert (abs(found.q50 - 1) < 0.006).all()
    assert found.within_2["jet_tau1"] > 0.9
    assert found.within_2["jet_sdmass"] > 0.75
