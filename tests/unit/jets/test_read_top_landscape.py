"""Reading HDF5 files of the top landscape: every jet, padding, pieces, and what is refused."""

import pickle

import h5py
import numpy as np
import pyarrow as pa
import pytest
from small_trees import four_vectors, write_top

from softjet.errors import InputError
from softjet.jets.check import find_bad_jets
from softjet.jets.read import FORMATS, read_top_landscape
from softjet.jets.readers import pieces
from softjet.jets.readers.top_landscape import inspect_top_landscape, pickled_strings
from softjet.jets.schema import table_facts
from softjet.jets.tables import MOMENTUM

JETS = four_vectors(40, seed=5)
LABELS = np.arange(40) % 2


@pytest.fixture
def path(tmp_path):
    write_top(tmp_path / "top.h5", JETS, LABELS)
    return tmp_path / "top.h5"


def read_all(path):
    return pa.concat_tables(read_top_landscape([path]))


def test_every_jet_arrives_and_the_last_one_too(path):
    table = read_all(path)
    assert table["label"].to_pylist() == LABELS.tolist()
    assert table["entry"].to_pylist() == list(range(40))
    for row, jet in zip(table.select(MOMENTUM).to_pylist(), JETS, strict=True):
        np.testing.assert_array_equal(np.array(list(row.values())).T, np.float32(jet))
    assert table["jet_nparticles"].to_pylist() == list(map(len, JETS))
    assert not find_bad_jets(table)


def test_the_jet_is_the_sum_of_its_particles_and_angles_are_relative_to_it(path):
    table = read_all(path)
    for row, jet in zip(table.to_pylist(), JETS, strict=True):
        px, py, pz, energy = np.float32(jet).sum(axis=0, dtype=float)
        eta, phi = np.arctanh(pz / np.sqrt(px**2 + py**2 + pz**2)), np.arctan2(py, px)
        wanted = [np.hypot(px, py), eta, phi, energy]
        got = [row[f"jet_{name}"] for name in ("pt", "eta", "phi", "energy")]
        np.testing.assert_allclose(got, wanted, rtol=1e-6)
        deta = (np.arctanh(jet[:, 2] / jet[:, 3]) - eta) * np.sign(eta)
        np.testing.assert_allclose(row["part_deta"], deta, atol=2e-6)
        dphi = np.angle(np.exp(1j * (np.arctan2(jet[:, 1], jet[:, 0]) - phi)))
        np.testing.assert_allclose(row["part_dphi"], dphi, atol=2e-6)


def test_the_table_says_what_it_is(path):
    facts = table_facts(read_all(path).schema)
    assert (facts.classes, facts.angle, facts.massless) == (("QCD", "Top"), "pseudorapidity", False)
    assert facts == FORMATS["top_landscape"].facts
    assert "part_charge" not in inspect_top_landscape(path).schema.names


def test_a_file_much_larger_than_a_piece_comes_in_pieces_of_its_size(path, monkeypatch):
    whole = read_all(path)
    monkeypatch.setattr(pieces, "PIECE", 7 * 810 * 4)
    small = list(read_top_landscape([path]))
    assert max(map(len, small)) <= 7
    assert len(small) >= 6
    assert pa.concat_tables(small).equals(whole)


def test_a_slot_with_momentum_but_no_energy_is_no_padding(tmp_path):
    jets = [jet.copy() for jet in JETS]
    jets[3][1, 3] = 0
    write_top(tmp_path / "top.h5", jets, LABELS)
    (bad,) = find_bad_jets(read_all(tmp_path / "top.h5"))
    assert (bad.row, bad.field, bad.problem) == (3, "part_energy", "not positive")


def test_a_label_that_is_neither_class_is_none(tmp_path):
    write_top(tmp_path / "top.h5", JETS, [2, -1, *LABELS[2:]])
    assert read_all(tmp_path / "top.h5")["label"].to_pylist()[:3] == [-1, -1, 0]


def refused(path):
    with pytest.raises(InputError) as caught:
        list(read_top_landscape([path]))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(path, kept):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    assert "truncated" in refused(path).problem


def test_encrypted_content_is_refused(path):
    path.write_bytes(np.random.default_rng(1).bytes(20_000))
    assert "encrypted" in refused(path).problem


def test_damaged_rows_are_refused(path):
    with h5py.File(path) as file:
        chunk = file["table/table"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(content)
    assert "cannot be read" in refused(path).problem


def test_another_hdf5_file_is_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["table"] = np.zeros(3)
    assert "no such pandas frame" in refused(tmp_path / "other.h5").problem
    assert "no such file" in refused(tmp_path / "none.h5").problem


def test_a_missing_column_is_named(tmp_path):
    write_top(tmp_path / "top.h5", JETS, LABELS, slots=199)
    assert refused(tmp_path / "top.h5").field == "PX_199"


class Evil:
    def __reduce__(self):
        return print, ("loaded",)


def test_a_pickle_of_anything_else_is_refused_and_not_loaded(path, capsys):
    with h5py.File(path, "r+") as file:
        file["table/table"].attrs["values_block_1_kind"] = np.bytes_(pickle.dumps([Evil()], protocol=0))
    error = refused(path)
    assert (error.field, "GLOBAL" in error.problem) == ("values_block_1_kind", True)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_names_of_any_protocol_are_read(protocol):
    names = ["E_0", "PX_0", "Größe", *map(str, range(2000))]
    assert pickled_strings(pickle.dumps(names, protocol), "a.h5", "names") == names


def test_names_that_python_2_wrote_are_read():
    assert pickled_strings(b"(lp1\nS'E_0'\np2\naS'PX_0'\np3\na.", "a.h5", "names") == ["E_0", "PX_0"]
