"""Conversion of every format, of published splits, and of files that belong to one split."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_trees import four_vectors, jet_arrays, write_quark_gluon, write_top, write_tree

from softjet.config.jets import Dataset
from softjet.errors import InputError
from softjet.jets.convert import SPLITS, convert
from softjet.jets.features import FEATURES, model_inputs
from softjet.jets.schema import COLUMNS, JET_COLUMNS, JET_OBSERVABLES, table_facts

JETS = 100


def write(kind, path, seed=0):
    """Write a file of jets of both classes."""
    jets, labels = four_vectors(JETS, seed), np.arange(JETS) % 2
    if kind == "top_landscape":
        write_top(path, jets, labels)
    elif kind == "quark_gluon":
        write_quark_gluon(path, jets, labels, seed)
    else:
        names = ("part_px", "part_py", "part_pz", "part_energy")
        lists = {name: [jet[:, i].tolist() for jet in jets] for i, name in enumerate(names)}
        pq.write_table(pa.table({"label": labels} | lists), path)


SUFFIX = {"top_landscape": "h5", "quark_gluon": "npz", "parquet": "parquet"}
SETS = {"top_landscape": {"kin"}, "quark_gluon": {"kin", "kinpid", "kinpidplus"}, "parquet": {"kin"}}


def run(folder, files, fixed=None, count=1, **settings):
    outputs = {split: [folder / f"{split}_{i}.parquet" for i in range(count)] for split in SPLITS}
    ends = folder / "rejected.parquet", folder / "counts.parquet"
    convert(Dataset(**settings), files, outputs, *ends, fixed)
    return {split: pa.concat_tables(map(pq.read_table, paths)) for split, paths in outputs.items()}


def entries(table):
    pairs = zip(table["source"].to_pylist(), table["entry"].to_pylist(), strict=True)
    return sorted(pairs)


@pytest.mark.parametrize("kind", SUFFIX)
def test_every_format_is_converted_with_all_its_jets_and_facts(tmp_path, kind):
    path = tmp_path / f"jets.{SUFFIX[kind]}"
    write(kind, path)
    splits = run(tmp_path / "out", [path], source=kind)
    whole = pa.concat_tables(splits.values())
    assert entries(whole) == [(path.name, entry) for entry in range(JETS)]
    known = [name for name in COLUMNS if name in whole.column_names]
    assert whole.column_names == known
    assert {*JET_COLUMNS, *JET_OBSERVABLES} <= set(known)
    assert table_facts(splits["test"].schema).format == ("jetclass" if kind == "parquet" else kind)
    counts = pq.read_table(tmp_path / "out" / "counts.parquet").to_pandas()
    classes = table_facts(whole.schema).classes
    assert set(counts["class"]) == set(classes[:2])


@pytest.mark.parametrize("kind", SUFFIX)
def test_a_feature_set_that_the_file_cannot_give_is_refused(tmp_path, kind):
    path = tmp_path / f"jets.{SUFFIX[kind]}"
    write(kind, path)
    table = run(tmp_path / "out", [path], source=kind)["train"]
    for features in FEATURES:
        if features in SETS[kind]:
            assert np.isfinite(model_inputs(table, features)[0]).all()
            continue
        with pytest.raises(InputError) as caught:
            model_inputs(table, features)
        assert caught.value.where == path.name
        assert caught.value.field in ("part_charge", "part_d0val")
        for kind_given in SETS[kind]:
            assert kind_given in caught.value.problem


def test_files_of_a_split_go_to_it_and_mix_through_its_files(tmp_path):
    paths = {split: tmp_path / f"{split}.npz" for split in SPLITS}
    for seed, path in enumerate(paths.values()):
        write("quark_gluon", path, seed)
    fixed = {split: [path] for split, path in paths.items()}
    splits = run(tmp_path / "out", [], fixed, count=3, source="quark_gluon")
    for split, table in splits.items():
        assert entries(table) == [(f"{split}.npz", entry) for entry in range(JETS)]
        sizes = [len(pq.read_table(tmp_path / "out" / f"{split}_{i}.parquet")) for i in range(3)]
        assert min(sizes) > JETS / 6


def test_further_jets_of_the_test_split_change_no_other(tmp_path):
    for label in (0, 1):
        write_tree(tmp_path / f"{label}.root", jet_arrays(JETS, label))
    write_tree(tmp_path / "more.root", jet_arrays(20, 0, seed=9))
    paths = [tmp_path / "0.root", tmp_path / "1.root"]
    before = run(tmp_path / "a", paths, source="jetclass")
    after = run(tmp_path / "b", paths, {"test": [tmp_path / "more.root"]}, source="jetclass")
    more = [("more.root", entry) for entry in range(20)]
    assert entries(after["train"]) == entries(before["train"])
    assert entries(after["validation"]) == entries(before["validation"])
    assert entries(after["test"]) == sorted(entries(before["test"]) + more)


def refused(folder, *arguments, **settings):
    with pytest.raises(InputError) as caught:
        run(folder, *arguments, **settings)
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_damaged_file_leaves_nothing(tmp_path):
    paths = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for seed, path in enumerate(paths):
        write("quark_gluon", path, seed)
    content = bytearray(paths[1].read_bytes())
    content[len(content) // 2 : len(content) // 2 + 200] = bytes(200)
    paths[1].write_bytes(content)
    assert refused(tmp_path / "out", paths, source="quark_gluon").startswith(f"{paths[1]}: X: ")


def test_a_bad_jet_of_the_top_landscape_is_named(tmp_path):
    jets = four_vectors(JETS)
    jets[7][0, 3] = 0
    write_top(tmp_path / "a.h5", jets, np.arange(JETS) % 2)
    line = refused(tmp_path / "out", [tmp_path / "a.h5"], source="top_landscape")
    assert line.startswith(f"{tmp_path / 'a.h5'}: part_energy of entry 7: not positive")


def test_files_of_different_columns_or_classes_do_not_mix(tmp_path):
    write("parquet", tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    pq.write_table(table.append_column("jet_sdmass", pa.array(np.ones(JETS))), tmp_path / "b.parquet")
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    assert "jet_sdmass: in one of" in refused(tmp_path / "out", paths, source="parquet")
    pq.write_table(table.replace_schema_metadata({"classes": "a,b"}), tmp_path / "b.parquet")
    assert "metadata: says otherwise" in refused(tmp_path / "out", paths, source="parquet")


def test_a_file_of_another_format_is_refused(tmp_path):
    write("parquet", tmp_path / "a.parquet")
    for kind in ("jetclass", "top_landscape", "quark_gluon"):
        line = refused(tmp_path / "out", [tmp_path / "a.parquet"], source=kind)
        assert line.startswith(f"{tmp_path / 'a.parquet'}: ")


@pytest.mark.parametrize(
    "settings",
    [
        {"source": "jetclass", "splits": {"train": ["a"], "validation": ["b"]}},
        {
            "source": "jetclass",
            "splits": {"train": ["a"], "validation": ["b"], "test": ["c"]},
            "files": ["d"],
        },
        {"splits": {"train": ["a"], "validation": ["b"], "test": ["c"]}},
        {"source": "parquet", "further_test": {"QCD": 5}},
        {"source": "parquet", "further_test": {"QCD": 0, "Tbl": 5}},
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings):
    with pytest.raises(ValueError, match=r"splits names|further_test is"):
        Dataset.model_validate(settings)
