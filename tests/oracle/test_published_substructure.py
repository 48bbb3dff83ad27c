"""Substructure of 100 published JetClass-II jets against the values in their file."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from softjet.jets.agreement import compare_with_file, spread
from softjet.jets.observables import momenta_of

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


def test_the_files_jets_are_the_sums_of_their_particles(table):
    """So the spread does not come from particles that the file lacks."""
    momenta, offsets = momenta_of(table)
    px, py, _, energy = np.add.reduceat(momenta, offsets[:-1]).T
    np.testing.assert_allclose(np.hypot(px, py), table["jet_pt"], rtol=1e-5)
    np.testing.assert_allclose(energy, table["jet_energy"], rtol=1e-5)
