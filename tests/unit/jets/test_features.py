"""Model inputs against their formulae, by hand."""

import math

import numpy as np
import pyarrow as pa
import pytest
from small_trees import jet_table

from softjet.errors import InputError
from softjet.jets.features import FEATURES, model_inputs
from softjet.jets.schema import IDENTITIES, PARTICLE_COLUMNS, jet_schema
from softjet.jets.tables import list_values, sort_by_pt

JET = {"jet_pt": 100.0, "jet_energy": 130.0}
PARTICLES = {
    "part_px": [60.0, 0.0, -5.0],
    "part_py": [0.0, -35.0, 0.0],
    "part_pz": [25.0, 12.0, 1.0],
    "part_energy": [65.0, 37.0, 5.1],
    "part_deta": [0.05, -0.3, 0.2],
    "part_dphi": [-0.1, 0.4, 0.0],
    "part_d0val": [0.1, -2.0, 0.0],
    "part_d0err": [0.05, 3.0, 0.0],
    "part_dzval": [-0.2, 10.0, 0.0],
    "part_dzerr": [0.4, -1.0, 0.0],
    "part_charge": [1.0, -1.0, 0.0],
    "part_isChargedHadron": [True, False, False],
    "part_isNeutralHadron": [False, False, False],
    "part_isPhoton": [False, False, True],
    "part_isElectron": [False, True, False],
    "part_isMuon": [False, False, False],
}


def table_of(particles, jet=JET):
    """One jet; what is not given is zero."""
    columns = {name: [particles[name]] for name in (*PARTICLE_COLUMNS, *IDENTITIES)}
    columns |= {name: [value] for name, value in jet.items()} | {
        "source": pa.array(["a"]).dictionary_encode()
    }
    return pa.table({f.name: pa.array(columns.get(f.name, [0]), f.type) for f in jet_schema(False)})


def by_hand(i):
    """Features of particle i of the jet above, in the published order."""
    p = {name.removeprefix("part_"): values[i] for name, values in PARTICLES.items()}
    pt = math.sqrt(p["px"] ** 2 + p["py"] ** 2)
    return [
        (math.log(pt) - 1.7) * 0.7,
        (math.log(p["energy"]) - 2.0) * 0.7,
        (math.log(pt / 100) + 4.7) * 0.7,
        (math.log(p["energy"] / 130) + 4.7) * 0.7,
        (math.sqrt(p["deta"] ** 2 + p["dphi"] ** 2) - 0.2) * 4.0,
        p["charge"],
        float(p["isChargedHadron"]),
        float(p["isNeutralHadron"]),
        float(p["isPhoton"]),
        float(p["isElectron"]),
        float(p["isMuon"]),
        math.tanh(p["d0val"]),
        min(max(p["d0err"], 0), 1),
        math.tanh(p["dzval"]),
        min(max(p["dzerr"], 0), 1),
        p["deta"],
        p["dphi"],
    ]


def test_features_of_three_particles_by_hand():
    features, vectors, mask = model_inputs(table_of(PARTICLES), "full")
    assert features.shape == (1, 17, 3)
    np.testing.assert_allclose(features[0].T, [by_hand(i) for i in range(3)], rtol=2e-6)
    np.testing.assert_allclose(vectors[0], [PARTICLES[f"part_{k}"] for k in ("px", "py", "pz", "energy")])
    assert (features.dtype, vectors.dtype, mask.dtype) == (np.float32, np.float32, bool)
    assert mask.tolist() == [[[True] * 3]]


@pytest.mark.parametrize(("kind", "places"), [("kin", [*range(5), 15, 16]), ("kinpid", [*range(11), 15, 16])])
def test_smaller_sets_are_parts_of_the_full_one(kind, places):
    full, _, _ = model_inputs(jet_table([3, 8]), "full")
    part, _, _ = model_inputs(jet_table([3, 8]), kind)
    assert len(FEATURES[kind]) == len(places)
    np.testing.assert_array_equal(part, full[:, places])


def test_hadrons_of_the_plus_set_count_by_their_kind():
    pid = [211, -321, 2212, 130, -2112, 22]
    table = jet_table([6]).append_column("part_pid", pa.array([pid], pa.list_(pa.int32())))
    plus, _, _ = model_inputs(table, "kinpidplus")
    plain, _, _ = model_inputs(table, "kinpid")
    np.testing.assert_allclose(plus[0, 6], [1, 0.5, 0.2, 0, 0, 0], rtol=1e-7)
    np.testing.assert_allclose(plus[0, 7], [0, 0, 0, 1, 0.2, 0], rtol=1e-7)
    others = [*range(6), *range(8, 13)]
    np.testing.assert_array_equal(plus[:, others], plain[:, others])


def test_a_missing_column_is_named_with_its_file_and_what_is_possible():
    table = jet_table([3]).drop_columns(["part_dzval"])
    with pytest.raises(InputError) as caught:
        model_inputs(table, "full")
    assert str(caught.value).startswith("a.root: part_dzval: is missing")
    assert str(caught.value).endswith("it can give kin or kinpid")
    with pytest.raises(InputError, match=r"jet table: part_px: .* no feature set"):
        model_inputs(table.drop_columns(["source", "part_px"]), "kin")


def test_large_and_vanishing_values_are_clipped():
    extreme = PARTICLES | {"part_px": [1e30, 0.0, 0.0], "part_py": [0.0] * 3, "part_deta": [9.0, 0.0, 0.0]}
    features, _, _ = model_inputs(table_of(extreme), "full")
    assert features[0, 0].tolist() == [5, -5, -5]
    assert features[0, 4, 0] == 5
    assert features[0, 15, 0] == 9


def test_padding_is_zero_and_as_long_as_the_longest_jet():
    lengths = [2, 7, 5]
    features, vectors, mask = model_inputs(jet_table(lengths), "full")
    assert features.shape == (3, 17, 7)
    assert mask.shape == (3, 1, 7)
    assert mask.sum(axis=(1, 2)).tolist() == lengths
    for array in (features, vectors):
        assert not array[~np.broadcast_to(mask, array.shape)].any()
    alone, _, _ = model_inputs(jet_table(lengths).slice(2, 1), "full")
    np.testing.assert_array_equal(alone[0], features[2, :, :5])


def shuffled(table):
    """Put each jet's particles in another order, in all columns alike."""
    random = np.random.default_rng(1)
    orders = [random.permutation(len(jet)) for jet in table["part_px"].to_pylist()]
    for name in (*PARTICLE_COLUMNS, *IDENTITIES):
        lists = zip(table[name].to_pylist(), orders, strict=True)
        values = pa.array([np.array(jet)[order] for jet, order in lists], table.schema.field(name).type)
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), values)
    return table


def test_the_hardest_particles_stay():
    table = jet_table([30, 4, 12])
    all_features, all_vectors, _ = model_inputs(table, "full")
    features, vectors, mask = model_inputs(shuffled(table), "full", max_particles=10)
    assert mask.sum(axis=(1, 2)).tolist() == [10, 4, 10]
    np.testing.assert_array_equal(features, all_features[:, :, :10])
    np.testing.assert_array_equal(vectors, all_vectors[:, :, :10])


def test_sorting_a_table_moves_all_columns_of_a_particle_together():
    table = jet_table([30, 4, 12])
    assert not shuffled(table).equals(table)
    assert sort_by_pt(shuffled(table)).equals(table)


def test_a_slice_of_a_table_is_read_as_its_own_jets():
    table = jet_table([3, 4, 5])
    np.testing.assert_array_equal(
        list_values(table.slice(1, 1), "part_px"), np.float32(table["part_px"].to_pylist()[1])
    )
