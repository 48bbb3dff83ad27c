"""Reading ROOT files of jets: values, types, pieces, and damaged files."""

import numpy as np
import pyarrow as pa
import pytest
from small_trees import jet_arrays, write_tree

from softjet.errors import InputError
from softjet.jets.read import read_jetclass
from softjet.jets.readers import pieces
from softjet.jets.readers.jetclass import inspect_jetclass
from softjet.jets.schema import IDENTITIES, LABELS, TRUTH_JET, jet_schema


def read_all(*paths):
    return pa.concat_tables(read_jetclass(paths))


@pytest.mark.parametrize("truth", [False, True])
def test_all_values_arrive_in_the_schema(tmp_path, truth):
    branches = jet_arrays(20, label=3, truth=truth)
    write_tree(tmp_path / "a.root", branches)
    table = read_all(tmp_path / "a.root")
    assert table.schema == jet_schema(truth)
    for field in jet_schema(truth):
        if field.name in branches:
            for got, wanted in zip(table[field.name].to_pylist(), branches[field.name], strict=True):
                np.testing.assert_allclose(got, wanted, rtol=1e-6, err_msg=field.name)
    assert table["label"].to_pylist() == [3] * 20
    assert table["source"].to_pylist() == ["a.root"] * 20
    assert table["entry"].to_pylist() == list(range(20))


def test_numeric_types_do_not_matter(tmp_path):
    branches = jet_arrays(10, label=2)
    branches["part_charge"] = [np.sign(charge) for charge in branches["part_charge"]]
    write_tree(tmp_path / "a.root", branches)
    other = dict(branches)
    other |= {name: branches[name].astype(np.int32) for name in LABELS}
    other |= {name: [values.astype(float) for values in branches[name]] for name in IDENTITIES}
    other["part_charge"] = [values.astype(np.int32) for values in branches["part_charge"]]
    other["jet_nparticles"] = branches["jet_nparticles"].astype(np.int64)
    (tmp_path / "other").mkdir()
    write_tree(tmp_path / "other" / "a.root", other)
    assert read_all(tmp_path / "a.root").equals(read_all(tmp_path / "other" / "a.root"))


@pytest.mark.parametrize(("value", "said"), [(np.nan, "nan"), (-1, "-1"), (0.3, "0.3")])
def test_a_flag_that_is_neither_0_nor_1_is_named(value, said, tmp_path, monkeypatch):
    """As bool, what is no number would be true; the entry is counted through all pieces."""
    monkeypatch.setattr(pieces, "PIECE", 5_000)
    branches = jet_arrays(50, label=2)
    branches[IDENTITIES[1]] = [values.astype(float) for values in branches[IDENTITIES[1]]]
    branches[IDENTITIES[1]][37][-1] = value
    write_tree(tmp_path / "a.root", branches)
    message = str(refused(tmp_path / "a.root"))
    assert message.endswith(f"a.root: {IDENTITIES[1]} of entry 37: is {said}; a flag is 0 or 1")


def test_a_name_that_uproot_would_split_is_refused(tmp_path):
    write_tree(tmp_path / "a.root", jet_arrays(3, label=0))
    (tmp_path / "a.root").rename(tmp_path / "a::b.root")
    assert "rename it" in str(refused(tmp_path / "a::b.root"))


def test_pieces_join_to_the_whole(tmp_path, monkeypatch):
    for name, label in (("a.root", 0), ("b.root", 1)):
        write_tree(tmp_path / name, jet_arrays(50, label))
    paths = [tmp_path / "a.root", tmp_path / "b.root"]
    whole = read_all(*paths)
    monkeypatch.setattr(pieces, "PIECE", 5_000)
    small = list(read_jetclass(paths))
    assert len(small) > 6
    assert max(map(len, small)) < 20
    assert pa.concat_tables(small).equals(whole)
    assert whole["entry"].to_pylist() == [*range(50), *range(50)]


def test_a_jet_without_exactly_one_label_has_none(tmp_path):
    branches = jet_arrays(4, label=2)
    branches[LABELS[5]][1] = 1
    branches[LABELS[2]][2] = 0
    branches[LABELS[2]][3] = np.nan
    write_tree(tmp_path / "a.root", branches)
    assert read_all(tmp_path / "a.root")["label"].to_pylist() == [2, -1, -1, -1]


def refused(path):
    with pytest.raises(InputError) as caught:
        list(read_jetclass([path]))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.7, 0.9999])
def test_a_truncated_file_is_refused(tmp_path, kept):
    path = tmp_path / "a.root"
    write_tree(path, jet_arrays(200, label=0))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    assert "truncated" in refused(path).problem


def test_a_file_damaged_inside_is_refused(tmp_path):
    path = tmp_path / "a.root"
    write_tree(path, jet_arrays(500, label=0))
    content = bytearray(path.read_bytes())
    content[len(content) // 4 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 4)
    path.write_bytes(content)
    assert "cannot be read" in refused(path).problem


def test_what_is_no_root_file_or_no_file_is_refused(tmp_path):
    (tmp_path / "a.root").write_text("jets\n" * 100)
    assert "not ROOT" in refused(tmp_path / "a.root").problem
    assert "no such file" in refused(tmp_path / "b.root").problem


def test_another_tree_is_refused(tmp_path):
    write_tree(tmp_path / "a.root", jet_arrays(3, label=0), tree="events")
    assert refused(tmp_path / "a.root").field == "tree"


@pytest.mark.parametrize("name", ["part_dzerr", "label_Tbl", "jet_tau4", "part_isMuon"])
def test_a_missing_branch_is_named(tmp_path, name):
    branches = jet_arrays(3, label=0)
    del branches[name]
    write_tree(tmp_path / "a.root", branches)
    assert refused(tmp_path / "a.root").field == name


def test_half_of_the_truth_is_refused(tmp_path):
    branches = jet_arrays(3, label=0, truth=True)
    del branches["truth_part_pi0"]
    write_tree(tmp_path / "a.root", branches)
    assert refused(tmp_path / "a.root").field == "truth_part_pi0"


@pytest.mark.parametrize("name", ["part_px", "jet_pt", "label_QCD"])
def test_a_branch_of_another_shape_is_named(tmp_path, name):
    branches = jet_arrays(3, label=0)
    branches[name] = np.ones(3) if name == "part_px" else [np.ones(2)] * 3
    write_tree(tmp_path / "a.root", branches)
    assert refused(tmp_path / "a.root").field == name


def test_inspection_counts_jets_and_sees_truth(tmp_path):
    write_tree(tmp_path / "a.root", jet_arrays(5, label=0, truth=True))
    file = inspect_jetclass(tmp_path / "a.root")
    assert file.entries == 5
    assert set(TRUTH_JET) <= set(file.schema.names)
    assert file.schema == read_all(tmp_path / "a.root").schema
