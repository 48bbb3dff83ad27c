"""Conversion: nothing lost, nothing twice, deterministic, mixed, and bad input leaves nothing behind."""

import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_trees import jet_arrays, ten_classes, write_tree

from softjet.config.jets import Dataset
from softjet.errors import InputError
from softjet.jets.convert import (
    SPLITS,
    Source,
    _groups,
    _Scatter,
    _Shares,
    convert,
    inspect_sources,
    jet_randoms,
)
from softjet.jets.observables import add_substructure
from softjet.jets.read import read_jetclass
from softjet.jets.readers.pieces import JetFile
from softjet.jets.schema import CLASSES, COLUMNS, JET_OBSERVABLES, JETCLASS, LABELS, jet_schema, table_facts
from softjet.jets.tables import sort_by_pt
from softjet.progress import Progress
from softjet.provenance.files import sha256

JETS = 150


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return ten_classes(tmp_path_factory.mktemp("sources"), JETS)


@pytest.fixture
def two(sources, tmp_path):
    """Copies of the first two sources, which a test may replace."""
    (tmp_path / "two").mkdir()
    copies = [tmp_path / "two" / path.name for path in sources[:2]]
    for source, copy in zip(sources, copies, strict=False):
        copy.write_bytes(source.read_bytes())
    return copies


def run(folder, sources, files=2, threads=1, **settings):
    """Convert into a folder; the outputs by split."""
    outputs = {split: [folder / f"{split}_{i}.parquet" for i in range(files)] for split in SPLITS}
    tables = folder / "rejected.parquet", folder / "counts.parquet"
    convert(Dataset(**settings), sources, outputs, *tables, threads=threads)
    return outputs


@pytest.fixture(scope="module")
def converted(sources, tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted")
    return folder, run(folder, sources)


def output_columns(truth):
    names = {*jet_schema(truth).names, *JET_OBSERVABLES}
    return [name for name in COLUMNS if name in names]


def everything(outputs):
    return pa.concat_tables([pq.read_table(path) for paths in outputs.values() for path in paths])


def in_order(table):
    """Rows by source and entry, with the source as plain text."""
    table = table.set_column(
        table.schema.get_field_index("source"), "source", table["source"].cast(pa.string())
    )
    return table.sort_by([("source", "ascending"), ("entry", "ascending")]).combine_chunks()


def digests(outputs):
    return [sha256(path) for paths in outputs.values() for path in paths]


def test_every_jet_arrives_once_and_unchanged(converted, sources):
    written = everything(converted[1])
    read = sort_by_pt(pa.concat_tables(read_jetclass(sources)))
    assert len(written) == 10 * JETS
    assert in_order(written).drop_columns(JET_OBSERVABLES).equals(in_order(read))
    assert written.schema.names == output_columns(truth=False)


@pytest.mark.parametrize("threads", [2, 5])
def test_files_do_not_depend_on_the_number_of_threads(converted, sources, tmp_path, threads):
    assert digests(run(tmp_path, sources, threads=threads)) == digests(converted[1])
    tables = ("counts.parquet", "rejected.parquet")
    assert [sha256(tmp_path / name) for name in tables] == [sha256(converted[0] / name) for name in tables]


@pytest.mark.parametrize(
    ("entries", "most", "sizes"), [([1] * 8, 4, [2] * 4), ([9, 1, 1, 1], 4, [1, 3]), ([5], 8, [1])]
)
def test_groups_of_source_files_hold_about_as_many_jets(entries, most, sizes):
    sources = [Source(JetFile(Path(str(i)), n, pa.schema([]))) for i, n in enumerate(entries)]
    groups = _groups(sources, most)
    assert [source for group in groups for source in group] == sources
    assert [len(group) for group in groups] == sizes


def test_a_file_that_cannot_be_read_ends_all_threads(sources, tmp_path):
    bad = tmp_path / sources[4].name
    write_tree(bad, jet_arrays(40, 4) | {"label_H4q": np.zeros(40, np.int32)})
    given = [*sources[:4], bad, *sources[5:]]
    with pytest.raises(InputError, match=bad.name):
        run(tmp_path, given, threads=3)
    assert not list(tmp_path.glob("*.parquet"))
    assert not list(tmp_path.glob(".partial-*"))
    assert not [thread for thread in threading.enumerate() if "ahead" in thread.name]


def test_a_group_ends_where_another_has_failed(sources, tmp_path):
    dataset = Dataset()
    group = inspect_sources(dataset, sources[:1], {})
    shares = _Shares(dataset, {split: [tmp_path / split] for split in SPLITS})
    with Progress(JETS, "convert", "jets") as progress:
        scatter = _Scatter(dataset, shares, tmp_path, progress)
        scatter.stop.set()
        assert scatter.group((0, group)) == ([], {})
    assert progress.done == 0


def test_every_output_says_what_its_jets_are(converted):
    for path in (path for paths in converted[1].values() for path in paths):
        assert table_facts(pq.read_schema(path)) == JETCLASS


def test_substructure_that_files_lack_is_computed(converted):
    table = everything(converted[1])
    wanted = add_substructure(table.drop_columns(JET_OBSERVABLES))
    for name in JET_OBSERVABLES:
        np.testing.assert_array_equal(table[name].to_numpy(), wanted[name].to_numpy())


def test_splits_have_their_fractions(converted):
    sizes = [sum(pq.read_metadata(path).num_rows for path in converted[1][split]) for split in SPLITS]
    expected = np.array([0.7, 0.1, 0.2]) * 10 * JETS
    assert (np.abs(sizes - expected) < 4 * np.sqrt(expected)).all()


def test_every_file_mixes_all_classes(converted):
    for path in (path for paths in converted[1].values() for path in paths):
        labels = pq.read_table(path)["label"].to_numpy()
        assert set(labels) == set(range(10))
        assert np.mean(labels[1:] != labels[:-1]) > 0.7


def test_counts_add_up(converted):
    folder, outputs = converted
    counts = pq.read_table(folder / "counts.parquet").to_pandas()
    assert (counts.groupby("source").jets.sum() == JETS).all()
    assert set(counts["class"]) == set(CLASSES)
    for split in SPLITS:
        rows = sum(pq.read_metadata(path).num_rows for path in outputs[split])
        assert counts.jets[counts.split == split].sum() == rows
    assert pq.read_table(folder / "rejected.parquet").num_rows == 0


def test_neither_folder_nor_order_of_the_files_changes_a_byte(sources, two, tmp_path):
    here = run(tmp_path / "a", sources[:2], source="jetclass")
    moved = run(tmp_path / "b", reversed(two), source="jetclass")
    assert digests(moved) == digests(here)


def test_size_of_the_pieces_changes_no_byte(two, tmp_path, monkeypatch):
    whole = run(tmp_path / "a", two, source="jetclass")
    monkeypatch.setattr("softjet.jets.readers.pieces.PIECE", 30_000)
    assert digests(run(tmp_path / "b", two, source="jetclass")) == digests(whole)


def test_another_seed_splits_otherwise(two, tmp_path):
    train = [run(tmp_path / str(seed), two, source="jetclass", seed=seed)["train"] for seed in (1, 2)]
    first, second = (in_order(everything({"train": paths})) for paths in train)
    assert not first.equals(second)


def test_random_numbers_of_a_jet_depend_on_name_entry_and_seed_only():
    short, long = jet_randoms(1, "a.root", 10), jet_randoms(1, "a.root", 1000)
    np.testing.assert_array_equal(short, long[:10])
    for other in (jet_randoms(1, "b.root", 10), jet_randoms(2, "a.root", 10)):
        assert not np.isin(other, short).any()
    assert np.corrcoef(long.T)[0, 1] == pytest.approx(0, abs=0.1)


def test_truth_is_kept(tmp_path):
    write_tree(tmp_path / "a.root", jet_arrays(60, label=4, truth=True))
    outputs = run(tmp_path / "out", [tmp_path / "a.root"], files=1, source="jetclass")
    assert everything(outputs).schema.names == output_columns(truth=True)


def test_particles_are_put_in_falling_pt(two, tmp_path):
    branches = jet_arrays(JETS, label=0)
    reversed_order = {n: [v[::-1] for v in b] if isinstance(b, list) else b for n, b in branches.items()}
    sorted_one = run(tmp_path / "a", two, source="jetclass")
    write_tree(two[0], reversed_order)
    assert digests(run(tmp_path / "b", two, source="jetclass")) == digests(sorted_one)


def spoil(branches, fault, row=5):
    """Give jet 5 one fault; the field that must be named."""
    if fault in ("nan", "inf"):
        branches["part_pz"][row][-1] = float(fault)
        return "part_pz"
    if fault in ("negative", "no energy"):
        branches["part_energy"][row][0] *= -1 if fault == "negative" else 0
        return "part_energy"
    if fault == "empty":
        for value in branches.values():
            if isinstance(value, list):
                value[row] = value[row][:0]
        branches["jet_nparticles"][row] = 0
        return "part_px"
    if fault == "count":
        branches["jet_nparticles"][row] += 1
        return "jet_nparticles"
    if fault == "ragged":
        branches["part_dphi"][row] = np.append(branches["part_dphi"][row], 0.0)
        return "part_dphi"
    if fault == "jet":
        branches["jet_energy"][row] = np.inf
        return "jet_energy"
    if fault == "zero":
        branches["jet_pt"][row] = 0
        return "jet_pt"
    branches[LABELS[1]][row] = 1
    return "label_*"


FAULTS = ["no energy", "nan", "inf", "negative", "empty", "count", "ragged", "jet", "zero", "label"]


@pytest.fixture(params=FAULTS)
def spoilt(request, two):
    """Sources of which the first has one bad jet; and the field at fault."""
    branches = jet_arrays(JETS, label=0)
    field = spoil(branches, request.param)
    write_tree(two[0], branches)
    return two, field


def refused(folder, sources, source="jetclass", **settings):
    """The one line of a refused conversion, which leaves no file."""
    with pytest.raises(InputError) as caught:
        run(folder, sources, source=source, **settings)
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_bad_jet_is_refused_by_name(spoilt, tmp_path):
    sources, field = spoilt
    line = refused(tmp_path / "out", sources)
    assert line.startswith(f"{sources[0]}: {field} of entry 5: ")
    assert "bad_jets: reject" in line


def test_a_bad_jet_is_listed_apart(spoilt, tmp_path):
    sources, field = spoilt
    folder = tmp_path / "out"
    written = everything(run(folder, sources, source="jetclass", bad_jets="reject"))
    (row,) = pq.read_table(folder / "rejected.parquet").to_pylist()
    assert (row["source"], row["entry"]) == (sources[0].name, 5)
    assert row["reason"].startswith(f"{field}: ")
    assert len(written) == 2 * JETS - 1
    counts = pq.read_table(folder / "counts.parquet").to_pandas()
    assert counts.jets.sum() == 2 * JETS
    assert counts.jets[counts.split == "rejected"].tolist() == [1]


def test_a_simulation_needs_all_classes_but_jetclass_files_do_not(two, tmp_path):
    assert "label Hcc: no jet of this class" in refused(tmp_path / "a", two, source="simulation")
    assert len(everything(run(tmp_path / "b", two, source="jetclass"))) == 2 * JETS


def test_every_class_needs_jets_in_every_split(two, tmp_path):
    write_tree(two[1], jet_arrays(1, label=1))
    assert "label Hbb: no jet of this class in" in refused(tmp_path / "out", two)


def test_a_file_without_jets_is_refused(two, tmp_path):
    write_tree(two[1], jet_arrays(0, label=1))
    assert refused(tmp_path / "out", two).startswith(f"{two[1]}: jets: no jet in it")


def test_two_files_of_one_name_are_refused(two, sources, tmp_path):
    assert "rename one" in refused(tmp_path / "out", [*two, sources[0]])
    assert "is given twice" in refused(tmp_path / "out", [two[0], *two])


def test_files_with_and_without_truth_do_not_mix(two, tmp_path):
    write_tree(two[1], jet_arrays(10, label=1, truth=True))
    assert "truth_parent_pid: in one of this file and" in refused(tmp_path / "out", two)


def test_a_damaged_source_leaves_nothing(two, tmp_path):
    content = bytearray(two[1].read_bytes())
    content[len(content) // 4 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 4)
    two[1].write_bytes(content)
    assert "cannot be read" in refused(tmp_path / "out", two)


def test_no_file_at_all_is_refused(tmp_path):
    assert "no file" in refused(tmp_path / "out", [])
