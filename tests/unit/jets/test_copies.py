import pytest
from small_trees import jet_arrays, jet_table, write_tree

from softjet.jets.copies import linked, pass_over, read_all, read_raw, write_quark_gluon, write_top_landscape
from softjet.jets.read import FORMATS
from softjet.jets.readers.jetclass import branches
from softjet.jets.schema import LABELS, jet_schema
from softjet.jets.tables import list_lengths, list_values, write_jets


@pytest.mark.parametrize(
    ("source", "write"), [("top_landscape", write_top_landscape), ("quark_gluon", write_quark_gluon)]
)
def test_copies_hold_the_jets_so_many_times(tmp_path, source, write):
    jets = jet_table([3, 1, 5])
    path = tmp_path / {"top_landscape": "jets.h5", "quark_gluon": "jets.npz"}[source]
    write(path, jets, 3)
    assert read_all(source, [path, path]) == 18
    (read,) = FORMATS[source].read([path])
    assert list_lengths(read, "part_px").tolist() == [3, 1, 5] * 3
    for name in ("part_px", "part_pz"):
        assert list_values(read, name)[:9] == pytest.approx(list_values(jets, name), rel=1e-5)


def test_a_pass_over_files_makes_batches_of_all_their_jets(tmp_path):
    path = tmp_path / "jets.parquet"
    write_jets(jet_table([3, 1, 5]), path)
    names = linked(path, 4)
    assert len({name.stat().st_ino for name in (path, *names)}) == 1
    assert pass_over(names, "kin", 2, 128) == 12


def test_a_raw_read_counts_the_jets_of_all_files(tmp_path):
    paths = [tmp_path / f"{i}.root" for i in range(2)]
    for label, path in enumerate(paths):
        write_tree(path, jet_arrays(7 + label, label))
    names = branches(jet_schema(truth=False))
    assert set(LABELS) < set(names)
    assert not {"label", "source", "entry"} & set(names)
    assert read_raw(paths, names) == 15
    with pytest.raises(KeyError, match="no_such"):
        read_raw(paths, [*names, "no_such"])
