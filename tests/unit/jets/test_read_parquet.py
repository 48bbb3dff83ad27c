"""Reading Parquet files of jets: what they lack, other types, pieces, and what is refused."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_trees import four_vectors, jet_table, write_quark_gluon, write_top

from softjet.errors import InputError
from softjet.jets.check import find_bad_jets
from softjet.jets.read import read_parquet, read_quark_gluon, read_top_landscape
from softjet.jets.readers import pieces
from softjet.jets.schema import IDENTITIES, JETCLASS, table_facts
from softjet.jets.tables import MOMENTUM, write_jets

JETS = four_vectors(40, seed=7)
LABELS = np.arange(40) % 2


def read_all(path):
    return pa.concat_tables(read_parquet([path]))


def plain(path, **columns):
    """Write the least that a file must hold, in plain types; columns replace or join these."""
    wanted = {name: [jet[:, i].tolist() for jet in JETS] for i, name in enumerate(MOMENTUM)}
    pq.write_table(pa.table({"label": LABELS} | wanted | columns), path)


def same(left, right):
    for name in set(left.column_names) - {"source"}:
        assert left[name].equals(right[name]), name
    assert set(left.column_names) == set(right.column_names)


@pytest.mark.parametrize("kind", ["top", "quark_gluon"])
def test_a_table_that_was_written_comes_back_with_its_facts(tmp_path, kind):
    if kind == "top":
        write_top(tmp_path / "a.h5", JETS, LABELS)
        table = pa.concat_tables(read_top_landscape([tmp_path / "a.h5"]))
    else:
        write_quark_gluon(tmp_path / "a.npz", JETS, LABELS)
        table = pa.concat_tables(read_quark_gluon([tmp_path / "a.npz"]))
    write_jets(table, tmp_path / "a.parquet")
    again = read_all(tmp_path / "a.parquet")
    same(again, table)
    assert table_facts(again.schema) == table_facts(table.schema) != JETCLASS
    assert set(again["source"].to_pylist()) == {"a.parquet"}


def test_what_a_file_lacks_is_computed(tmp_path):
    write_top(tmp_path / "a.h5", JETS, LABELS)
    (top,) = read_top_landscape([tmp_path / "a.h5"])
    plain(tmp_path / "a.parquet", **{name: top[name] for name in MOMENTUM})
    table = read_all(tmp_path / "a.parquet")
    same(table, top)
    assert table_facts(table.schema) == JETCLASS


def test_angles_are_relative_to_the_jet_that_the_file_gives(tmp_path):
    plain(tmp_path / "a.parquet")
    plain(tmp_path / "b.parquet", jet_eta=np.full(40, -0.5))
    first, second = read_all(tmp_path / "a.parquet"), read_all(tmp_path / "b.parquet")
    eta = np.arctanh(JETS[0][:, 2] / JETS[0][:, 3])
    np.testing.assert_allclose(second["part_deta"][0].as_py(), -(eta + 0.5), atol=1e-6)
    assert second["part_dphi"].equals(first["part_dphi"])


def test_numeric_types_do_not_matter(tmp_path):
    table = jet_table([3, 5, 1])
    write_jets(table, tmp_path / "a.parquet")
    columns = {name: table[name].cast(pa.large_list(pa.float64())) for name in MOMENTUM}
    columns |= {name: table[name].cast(pa.list_(pa.int8())) for name in IDENTITIES}
    columns |= {"label": table["label"].cast(pa.float64()), "jet_pt": table["jet_pt"].cast(pa.float64())}
    other = pa.table({name: columns.get(name, table[name]) for name in table.column_names})
    (tmp_path / "b").mkdir()
    pq.write_table(other, tmp_path / "b" / "a.parquet")
    assert read_all(tmp_path / "a.parquet").equals(read_all(tmp_path / "b" / "a.parquet"))


def test_flags_in_a_type_that_is_no_flag_are_named(tmp_path):
    table = jet_table([3, 5, 1])
    halves = pa.array([np.zeros(n, np.float16) for n in (3, 5, 1)], pa.list_(pa.float16()))
    columns = {name: halves if name == IDENTITIES[0] else table[name] for name in table.column_names}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=f"{IDENTITIES[0]} of entries 0 to 2: do not fit list<.*bool"):
        read_all(tmp_path / "a.parquet")


@pytest.mark.parametrize(("value", "said"), [(np.nan, "nan"), (2, "2")])
def test_a_flag_that_is_neither_0_nor_1_is_named(value, said, tmp_path):
    table = jet_table([3, 5, 1])
    flags = table[IDENTITIES[2]].cast(pa.list_(pa.float32())).to_pylist()
    flags[1][4] = value
    columns = {name: table[name] for name in table.column_names} | {IDENTITIES[2]: flags}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=f"{IDENTITIES[2]} of entry 1: is {said}; a flag is 0 or 1"):
        read_all(tmp_path / "a.parquet")


def test_a_file_much_larger_than_a_piece_comes_in_pieces(tmp_path, monkeypatch):
    plain(tmp_path / "a.parquet")
    whole = read_all(tmp_path / "a.parquet")
    total = pq.read_metadata(tmp_path / "a.parquet").row_group(0).total_byte_size
    monkeypatch.setattr(pieces, "PIECE", total // 5)
    small = list(read_parquet([tmp_path / "a.parquet"]))
    assert max(map(len, small)) <= 8
    assert pa.concat_tables(small).combine_chunks().equals(whole.combine_chunks())
    assert whole["entry"].to_pylist() == list(range(40))


def test_a_label_that_is_no_class_is_none(tmp_path):
    plain(tmp_path / "a.parquet", label=[10, -5, 300, *LABELS[3:].tolist()])
    assert read_all(tmp_path / "a.parquet")["label"].to_pylist()[:4] == [-1, -1, -1, 1]


def test_lists_of_unequal_length_are_found(tmp_path):
    energies = [jet[:, 3].tolist() for jet in JETS]
    energies[6] = energies[6][:-1]
    plain(tmp_path / "a.parquet", part_energy=energies)
    assert (6, "part_energy") in {
        (bad.row, bad.field) for bad in find_bad_jets(read_all(tmp_path / "a.parquet"))
    }


def refused(path):
    with pytest.raises(InputError) as caught:
        list(read_parquet([path]))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("name", ["label", "part_px", "part_energy"])
def test_a_missing_column_is_named(tmp_path, name):
    plain(tmp_path / "a.parquet")
    pq.write_table(pq.read_table(tmp_path / "a.parquet").drop_columns([name]), tmp_path / "a.parquet")
    assert refused(tmp_path / "a.parquet").field == name


@pytest.mark.parametrize(
    ("columns", "field"),
    [
        ({"part_px": np.ones(40)}, "part_px"),
        ({"jet_pt": [[1.0]] * 40}, "jet_pt"),
        ({"label": ["QCD"] * 40}, "label"),
        ({"part_pz": [[[1.0]]] * 40}, "part_pz"),
        ({"label": [*LABELS[:39].tolist(), None]}, "label of entry 39"),
        ({"jet_eta": [None, *[1.0] * 39]}, "jet_eta of entry 0"),
        ({"part_charge": [*[[1.0]] * 9, None, *[[1.0]] * 30]}, "part_charge of entry 9"),
        ({"part_charge": [*[[1.0]] * 9, [1.0, None], *[[1.0]] * 30]}, "part_charge of entry 9"),
        ({"part_pid": [[2.5]] * 40}, "part_pid of entries 0 to 39"),
        ({"label": [0.5] * 40}, "label of entries 0 to 39"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, columns, field):
    plain(tmp_path / "a.parquet", **columns)
    assert refused(tmp_path / "a.parquet").field == field


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"angle": "theta"}, "angle"),
        ({"massless": "maybe"}, "massless"),
        ({"classes": "QCD,QCD"}, "classes"),
        ({"classes": "QCD"}, "classes"),
        ({"classes": "QCD,all"}, "classes"),
    ],
)
def test_metadata_of_another_word_is_refused(tmp_path, said, field):
    plain(tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet").replace_schema_metadata(said)
    pq.write_table(table, tmp_path / "a.parquet")
    assert refused(tmp_path / "a.parquet").field == field


@pytest.mark.parametrize("kept", [0.2, 0.9])
def test_a_truncated_file_is_refused(tmp_path, kept):
    plain(tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: int(kept * len(whole))])
    assert "truncated" in refused(tmp_path / "a.parquet").problem


def test_damaged_pages_are_refused(tmp_path):
    plain(tmp_path / "a.parquet")
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    content[4:2000] = b"\xff" * 1996
    (tmp_path / "a.parquet").write_bytes(content)
    assert "cannot be read" in refused(tmp_path / "a.parquet").problem
