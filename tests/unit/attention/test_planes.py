import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from softjet.attention.partners import DISTANCES
from softjet.attention.planes import CELLS, REACH, maps, planes_table, profile, turned
from softjet.attention.reading import JetReader
from softjet.attention.stream import stream
from softjet.errors import InputError


def test_the_profile_holds_the_weight_at_each_distance(look, jet_table):
    seen, (_, *ratios) = look(profile(), jet_table)[1]
    edges = np.float32([0, *DISTANCES, np.inf])
    assert [ratio.threshold for ratio in ratios] == [0, *DISTANCES]
    for jet, n in enumerate(seen.jets.n.tolist()):
        deta, dphi = (seen.jets.column(name)[jet, :n] for name in ("part_deta", "part_dphi"))
        distance = torch.hypot(deta[:, None] - deta, dphi[:, None] - dphi)
        others = seen.weights[jet, 0, :n, :n] * ~torch.eye(n, dtype=torch.bool)
        even = others.sum(1, keepdim=True) / (n - 1) * ~torch.eye(n, dtype=torch.bool)
        for ratio, low, high in zip(ratios, edges, edges[1:], strict=False):
            inside = (distance >= low) & (distance < high)
            got = [float(value[jet, 0]) for value in (ratio.top, ratio.bottom)]
            expected = [float(x) for x in (others[inside].sum(), even[inside].sum())]
            assert got == pytest.approx(expected, abs=1e-4)


def test_what_lies_ahead_is_on_the_side_of_the_other_subjet(look, jet_table):
    seen, (ahead, *_) = look(profile(), jet_table)[1]
    x, _ = turned(seen.jets)
    for jet, n in enumerate(seen.jets.n.tolist()):
        others = seen.weights[jet, 0, :n, :n] * ~torch.eye(n, dtype=torch.bool)
        forward = (x[jet, :n, :n] > 0) & ~torch.eye(n, dtype=torch.bool)
        even = (others.sum(1) * forward.sum(1) / (n - 1)).sum()
        got = [float(value[jet, 0]) for value in (ahead.top, ahead.bottom, ahead.null)]
        assert got == pytest.approx([float(v) for v in (others[forward].sum(), others.sum(), even)], abs=1e-4)


def plane_table(jet_table, deta, dphi, pt):
    """Jets of the given particles (lists over jets), put where columns and momenta agree."""
    lists = {"part_deta": deta, "part_dphi": dphi}
    for name, make in {
        "part_px": lambda e, f, p: p * np.cos(f),
        "part_py": lambda e, f, p: p * np.sin(f),
        "part_pz": lambda e, f, p: p * np.sinh(e),
        "part_energy": lambda e, f, p: p * np.cosh(e),
    }.items():
        lists[name] = [make(*jet) for jet in zip(deta, dphi, pt, strict=True)]
    table = jet_table.slice(0, len(pt))
    for name in table.column_names:
        if name.startswith("part_") and name not in lists:
            kind = table.schema.field(name).type
            lists[name] = [np.zeros(len(p), kind.value_type.to_pandas_dtype()) for p in pt]
    for name, values in lists.items():
        place = table.column_names.index(name)
        table = table.set_column(
            place, name, pa.array(list(values), pa.list_(table.schema.field(name).type.value_type))
        )
    return table


@pytest.fixture
def two_prongs():
    """Places and pT of a hard and a soft group of particles, hard ones first, the hardest off the axis."""
    eta = np.array([-0.2, -0.25, -0.15, 0.35, 0.4, 0.3])
    phi = np.array([0.05, -0.05, -0.02, 0.0, 0.03, -0.03])
    return eta, phi, np.array([100.0, 50, 40, 30, 20, 10])


def turned_of(table, tmp_path, model):
    pq.write_table(table, tmp_path / "plane.parquet")
    batches = JetReader([tmp_path / "plane.parquet"], 100, 1, model.config, 30)
    return torch.cat([torch.stack(turned(jets)) for jets in batches], 1)


def test_turned_and_mirrored_jets_lie_on_top_of_each_other(jet_table, two_prongs, tmp_path, model):
    eta, phi, pt = two_prongs
    angles = np.linspace(0, 6, 7)
    places = [
        (eta * np.cos(a) - s * phi * np.sin(a), eta * np.sin(a) + s * phi * np.cos(a))
        for a in angles for s in (1, -1)
    ]  # fmt: skip
    table = plane_table(jet_table, [p[0] for p in places], [p[1] for p in places], [pt] * 14)
    found = turned_of(table, tmp_path, model)
    assert torch.allclose(found, found[:, :1].expand_as(found), atol=1e-5)


def test_x_points_to_the_other_subjet_and_y_to_the_side_of_the_hardest(
    jet_table, two_prongs, tmp_path, model
):
    eta, phi, pt = two_prongs
    x, y = turned_of(plane_table(jet_table, [eta], [phi], [pt]), tmp_path, model)[:, 0]
    second = np.average(eta[3:], weights=pt[3:]), np.average(phi[3:], weights=pt[3:])
    first = np.average(eta[:3], weights=pt[:3]), np.average(phi[:3], weights=pt[:3])
    axis = np.subtract(second, first) / np.hypot(*np.subtract(second, first))
    assert x[0, 3].item() == pytest.approx(axis @ [eta[3] - eta[0], phi[3] - phi[0]], abs=1e-5)
    assert (x[:3, 3:] > 0.3).all() and (x[3:, :3] > 0.3).all()  # noqa: PT018
    assert y[1, 0] > 0
    assert torch.allclose(x[:3, :3], -x[:3, :3].T)


def test_maps_hold_the_weight_of_each_displacement(look, jet_table):
    seen, (ratio,) = look(maps(), jet_table)[2]
    x, y = turned(seen.jets)
    edges = np.linspace(-REACH, REACH, CELLS + 1)
    for jet, n in enumerate(seen.jets.n.tolist()):
        others = seen.weights[jet, :, :n, :n].sum(0) * ~torch.eye(n, dtype=torch.bool)
        even = others.sum(1, keepdim=True) / (n - 1) * ~torch.eye(n, dtype=torch.bool)
        place = [part[jet, :n, :n].flatten() for part in (y, x)]
        for weights, got in ((others, ratio.top), (even, ratio.null)):
            expected, *_ = np.histogram2d(*place, bins=(edges, edges), weights=weights.flatten())
            assert np.allclose(got[jet].reshape(CELLS, CELLS), expected, atol=1e-5)
        assert float(ratio.bottom[jet, 0]) == pytest.approx(float(others.sum()), rel=1e-5)


def test_the_table_of_maps(jet_table, model, tmp_path):
    pq.write_table(jet_table, tmp_path / "jets.parquet")
    jets = JetReader([tmp_path / "jets.parquet"], 100, 1, model.config, 9)
    sums = stream(model, jets, {"map": maps()._replace(every=1)}, 20, 1, 1e-4).sums["map"]
    table = planes_table(sums, sums)
    assert len(table) == 3 * 3 * CELLS**2
    assert set(table["class"]) == {"QCD", "H4q", "Tbqq"}
    assert (table.n_jets == 10).all()
    whole = table.groupby(["label", "layer"])[["observed", "even"]].sum() * (2 * REACH / CELLS) ** 2
    assert ((whole > 0) & (whole <= 1 + 1e-6)).all(axis=None)
    told = table[table.even > 0]
    assert np.allclose(told.ratio, told.observed / told.even)
    other = JetReader([tmp_path / "jets.parquet"], 3, 1, model.config, 9)
    fewer = stream(model, other, {"map": maps()._replace(every=1)}, 20, 1, 1e-4).sums["map"]
    with pytest.raises(InputError, match="untrained: jets: are not those of the trained network"):
        planes_table(sums, fewer)
