"""Observables as columns of the jet table, and beside those that a file holds."""

import numpy as np
import pyarrow as pa
import pytest
from small_momenta import massless, random_jet

from softjet.errors import InputError
from softjet.jets.agreement import compare_with_file, spread
from softjet.jets.correlators import c2, d2, energy_correlators, pt_dispersion
from softjet.jets.observables import CLUSTERED, CORRELATORS, add_substructure, momenta_of
from softjet.jets.speed import jets_of_mean_length, substructure_calls
from softjet.jets.substructure import jet_substructure
from softjet.jets.tables import MOMENTUM, list_column, list_lengths


def table_of(*jets):
    momenta, lengths = np.concatenate(jets), np.array([len(jet) for jet in jets])
    floats = pa.list_(pa.float32())
    return pa.table(
        {name: list_column(momenta[:, i], lengths, floats) for i, name in enumerate(MOMENTUM)}
        | {"label": pa.array(np.arange(len(jets)), pa.int8())}
    )


@pytest.fixture(scope="module")
def table():
    random = np.random.default_rng(8)
    jets = []
    for size in (1, 2, 3, 12, 40, 25, 60, 9):
        pt, points = random_jet(random, size)
        jets.append(massless(pt, *points.T))
    return table_of(*jets)


def test_all_observables_are_added_as_float32_and_equal_the_functions(table):
    full = add_substructure(table)
    assert full.column_names == [*table.column_names, *CLUSTERED, *CORRELATORS]
    momenta, offsets = momenta_of(table)
    e2, e3 = energy_correlators(momenta, offsets)
    expected = jet_substructure(momenta, offsets)
    expected |= {"jet_c2": c2(e2, e3), "jet_d2": d2(e2, e3), "jet_ptd": pt_dispersion(momenta, offsets)}
    for name, values in expected.items():
        assert full.schema.field(name).type == pa.float32()
        np.testing.assert_allclose(full[name].to_numpy(), values, rtol=1e-6, err_msg=name)


def test_what_the_table_holds_is_kept(table):
    held = table.append_column("jet_tau2", pa.array(np.full(len(table), 7.0, np.float32)))
    full = add_substructure(held)
    assert full["jet_tau2"] == held["jet_tau2"]
    assert set(full.column_names) == {*held.column_names, *CLUSTERED, *CORRELATORS}
    assert add_substructure(full).equals(full)


def test_pieces_slices_and_empty_tables_give_the_same_columns(table):
    full = add_substructure(table)
    pieces = pa.concat_tables([table.slice(0, 3), table.slice(3)])
    assert add_substructure(pieces).combine_chunks().equals(full)
    assert add_substructure(table.slice(2, 4)).equals(full.slice(2, 4))
    assert add_substructure(table.slice(0, 0)).schema == full.schema


def test_a_momentum_that_is_not_finite_is_named():
    bad = table_of(massless([1.0], [0.0], [0.0]), np.array([[1, 0, np.inf, 1]]))
    with pytest.raises(InputError, match="row 1 must be finite"):
        add_substructure(bad)


def test_comparison_leaves_out_zeros_and_gives_the_spread(table):
    full = add_substructure(table).drop_columns(["jet_tau4"])
    twice = pa.array(2 * full["jet_tau1"].to_numpy())
    full = full.set_column(full.schema.get_field_index("jet_tau1"), "jet_tau1", twice)
    both = compare_with_file(full)
    summary = spread(both).set_index("observable")
    assert list(summary.index) == ["jet_sdmass", "jet_tau1", "jet_tau2", "jet_tau3"]
    assert summary.jets["jet_tau3"] == (list_lengths(table, MOMENTUM[0]) > 3).sum()
    assert (both.file > 0).all()
    np.testing.assert_allclose(summary.loc["jet_tau1", ["q05", "q50", "q95"]].astype(float), 0.5)
    assert summary.within_5["jet_tau1"] == 0
    assert summary.within_2["jet_tau2"] == 1


def test_a_table_that_holds_none_is_refused(table):
    with pytest.raises(InputError, match=r"mine\.parquet: jet_sdmass: none of"):
        compare_with_file(table, "mine.parquet")


@pytest.mark.parametrize("mean", [15, 40])
def test_jets_are_drawn_to_a_mean_length(table, mean):
    drawn = jets_of_mean_length(table, 4000, mean, seed=1)
    lengths = list_lengths(drawn, MOMENTUM[0])
    assert len(drawn) == 4000
    assert lengths.mean() == pytest.approx(mean, abs=1.5)
    assert drawn.equals(jets_of_mean_length(table, 4000, mean, seed=1))


def test_a_mean_that_no_mix_has_is_refused(table):
    with pytest.raises(InputError, match="no mix of these jets has 90 particles"):
        jets_of_mean_length(table, 10, 90, seed=1)


def test_every_timed_call_runs(table):
    calls = substructure_calls(table)
    assert {code for code, _ in calls} == {"softjet", "fastjet"}
    for call in calls.values():
        call()
