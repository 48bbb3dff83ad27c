"""Reading EnergyFlow's npz files: every jet, identities, pieces, and what is refused."""

import io
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from small_trees import four_vectors, write_quark_gluon

from softjet.errors import InputError
from softjet.jets.check import find_bad_jets
from softjet.jets.read import FORMATS, read_quark_gluon
from softjet.jets.readers import pieces
from softjet.jets.schema import IDENTITIES, table_facts
from softjet.jets.tables import MOMENTUM

JETS = four_vectors(40, seed=6)
LABELS = np.arange(40) % 2


@pytest.fixture
def path(tmp_path):
    write_quark_gluon(tmp_path / "qg.npz", JETS, LABELS)
    return tmp_path / "qg.npz"


def read_all(path):
    return pa.concat_tables(read_quark_gluon([path]))


def test_every_jet_arrives_and_the_last_one_too(path):
    table = read_all(path)
    assert table["label"].to_pylist() == LABELS.tolist()
    assert table["entry"].to_pylist() == list(range(40))
    for row, jet in zip(table.select(MOMENTUM).to_pylist(), JETS, strict=True):
        np.testing.assert_allclose(np.array(list(row.values())).T, jet, rtol=1e-6)
    assert not find_bad_jets(table)


def test_identities_and_charges_follow_from_the_pdg_numbers(tmp_path):
    pids = [211, -211, 321, -2212, 130, -2112, 22, 11, -11, 13, -13, 3122]
    charge = [1, -1, 1, -1, 0, 0, 0, -1, 1, -1, 1, 0]
    kinds = [0, 0, 0, 0, 1, 1, 2, 3, 3, 4, 4, None]
    x = np.zeros((1, 20, 4))
    x[0, : len(pids)] = [[50 - i, 0.1 * i, 0.2 * i, pid] for i, pid in enumerate(pids)]
    np.savez(tmp_path / "qg.npz", X=x, y=[1.0])
    table = read_all(tmp_path / "qg.npz")
    assert table["part_pid"].to_pylist() == [pids]
    assert table["part_charge"].to_pylist() == [charge]
    for place, name in enumerate(IDENTITIES):
        assert table[name].to_pylist() == [[kind == place for kind in kinds]]


def test_the_table_says_what_it_is(path):
    facts = table_facts(read_all(path).schema)
    assert (facts.classes, facts.angle, facts.massless) == (("gluon", "quark"), "rapidity", True)
    assert facts == FORMATS["quark_gluon"].facts


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_much_larger_than_a_piece_comes_in_pieces_of_its_size(path, monkeypatch, save):
    with np.load(path) as content:
        save(path, **content)
    whole = read_all(path)
    monkeypatch.setattr(pieces, "PIECE", 7 * 20 * 4 * 8)
    small = list(read_quark_gluon([path]))
    assert [len(piece) for piece in small] == [7] * 5 + [5]
    assert pa.concat_tables(small).equals(whole)


@pytest.mark.parametrize(
    ("column", "value", "field"),
    [(0, 0.0, "part_energy"), (0, -3.0, "part_energy"), (3, np.nan, "part_charge"), (1, 9e3, "part_pz")],
)
def test_unsound_particles_are_found(tmp_path, column, value, field):
    path = tmp_path / "qg.npz"
    x = write_quark_gluon(path, JETS, LABELS)
    x[4, 1, column] = value
    np.savez(path, X=x, y=LABELS)
    (bad,) = find_bad_jets(read_all(path))
    assert (bad.row, bad.field) == (4, field)


def refused(path):
    with pytest.raises(InputError) as caught:
        list(read_quark_gluon([path]))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return caught.value


def save(path, **arrays):
    np.savez(path, **({"X": np.ones((3, 5, 4)), "y": np.ones(3)} | arrays))


def test_pickled_objects_are_refused(tmp_path):
    save(tmp_path / "a.npz", X=np.array([[1, 2], [3]], dtype=object))
    error = refused(tmp_path / "a.npz")
    assert (error.field, "never loaded" in error.problem) == ("X", True)


@pytest.mark.parametrize(
    ("arrays", "field"),
    [
        ({"X": np.ones((3, 5, 3))}, "X"),
        ({"X": np.ones((3, 4))}, "X"),
        ({"X": np.ones((3, 0, 4))}, "X"),
        ({"X": np.asfortranarray(np.ones((3, 5, 4)))}, "X"),
        ({"X": np.full((3, 5, 4), "1")}, "X"),
        ({"y": np.ones(2)}, "y"),
        ({"y": np.ones((3, 2))}, "y"),
        ({"y": np.float64(1)}, "y"),
    ],
)
def test_arrays_of_another_shape_or_kind_are_refused(tmp_path, arrays, field):
    save(tmp_path / "a.npz", **arrays)
    assert refused(tmp_path / "a.npz").field == field


def test_a_missing_array_is_named(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.ones((3, 5, 4)))
    assert refused(tmp_path / "a.npz").field == "y"


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(path, kept):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    assert "truncated" in refused(path).problem


def test_a_file_damaged_inside_is_refused(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 200] = bytes(200)
    path.write_bytes(content)
    assert "cannot be read" in refused(path).problem


def test_what_is_no_npz_or_no_file_is_refused(tmp_path):
    (tmp_path / "a.npz").write_text("jets")
    assert "not npz" in refused(tmp_path / "a.npz").problem
    assert "no such file" in refused(tmp_path / "b.npz").problem


def header(shape):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize("shape", [(10**12, 5, 4), (4, 5, 4), (3, 10**9, 4)])
def test_an_array_that_declares_another_size_is_refused(tmp_path, shape):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", header(shape) + np.ones((3, 5, 4)).tobytes())
        archive.writestr("y.npy", header((3,)) + np.ones(3).tobytes())
    assert "declares" in refused(tmp_path / "a.npz").problem


def test_a_directory_that_promises_more_than_compression_allows_is_refused(tmp_path):
    shape = (10**7, 5, 4)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", header(shape) + np.ones((3, 5, 4)).tobytes())
        archive.writestr("y.npy", header(shape[:1]) + np.ones(3).tobytes())
    content = bytearray((tmp_path / "a.npz").read_bytes())
    size = content.index(b"PK\x01\x02") + 24
    content[size : size + 4] = (len(header(shape)) + 8 * np.prod(shape)).tobytes()[:4]
    (tmp_path / "a.npz").write_bytes(content)
    assert "declares 1600000128 bytes" in refused(tmp_path / "a.npz").problem
