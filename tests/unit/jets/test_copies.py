import pytest
from small_trees import jet_table

from softjet.jets.copies import read_all, write_quark_gluon, write_top_landscape
from softjet.jets.read import FORMATS
from softjet.jets.tables import list_lengths, list_values


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
