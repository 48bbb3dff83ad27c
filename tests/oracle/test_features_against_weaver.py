"""Model inputs against weaver's own preprocessing of the same jets, by the published data configurations."""

import logging

import awkward as ak
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import uproot
import vector
import yaml

from softjet.jets.features import model_inputs
from softjet.jets.read import read_jetclass, read_quark_gluon, read_top_landscape
from softjet.jets.schema import IDENTITIES, JET_COLUMNS, LABELS, PARTICLE_COLUMNS
from softjet.jets.tables import sort_by_pt

logging.getLogger("weaver").setLevel(logging.ERROR)
weaver = pytest.importorskip("weaver.utils.dataset")
vector.register_awkward()

LONGEST = 128

KINEMATICS = [
    ["part_pt_log", 1.7, 0.7],
    ["part_e_log", 2.0, 0.7],
    ["part_logptrel", -4.7, 0.7],
    ["part_logerel", -4.7, 0.7],
    ["part_deltaR", 0.2, 4.0],
]
PLUS = ["part_charge", "part_isCHad", "part_isNHad", "part_isPhoton", "part_isElectron", "part_isMuon"]
DISPLACEMENTS = [["part_d0", None], ["part_d0err", 0, 1, 0, 1], ["part_dz", None], ["part_dzerr", 0, 1, 0, 1]]
BEFORE_ANGLES = {
    "kin": [],
    "kinpid": [[name, None] for name in ("part_charge", *IDENTITIES)],
    "kinpidplus": [[name, None] for name in PLUS],
    "full": [[name, None] for name in ("part_charge", *IDENTITIES)] + DISPLACEMENTS,
}
NEW = {
    "part_mask": "ak.ones_like(part_energy)",
    "part_pt": "np.hypot(part_px, part_py)",
    "part_pt_log": "np.log(part_pt)",
    "part_e_log": "np.log(part_energy)",
    "part_logptrel": "np.log(part_pt/jet_pt)",
    "part_logerel": "np.log(part_energy/jet_energy)",
    "part_deltaR": "np.hypot(part_deta, part_dphi)",
}
NEW_OF = {
    "full": {"part_d0": "np.tanh(part_d0val)", "part_dz": "np.tanh(part_dzval)"},
    "kinpidplus": {
        "part_isCHad": "(np.abs(part_pid)==211) + (np.abs(part_pid)==321)*0.5 + (np.abs(part_pid)==2212)*0.2",
        "part_isNHad": "(np.abs(part_pid)==130) + (np.abs(part_pid)==2112)*0.2",
    },
}


def data_config(path, kind, labels):
    """Write a published data configuration."""
    angles = [["part_deta", None], ["part_dphi", None]]
    inputs = {
        "pf_features": ("wrap", KINEMATICS + BEFORE_ANGLES[kind] + angles),
        "pf_vectors": ("wrap", [[f"part_{name}", None] for name in ("px", "py", "pz", "energy")]),
        "pf_mask": ("constant", [["part_mask", None]]),
    }
    config = {
        "selection": None,
        "new_variables": NEW | NEW_OF.get(kind, {}) | labels.get("new", {}),
        "preprocess": {"method": "manual", "data_fraction": 0.5},
        "inputs": {
            name: {"length": LONGEST, "pad_mode": mode, "vars": columns}
            for name, (mode, columns) in inputs.items()
        },
        "labels": {"type": "simple", "value": labels["value"]},
        "observers": [],
        "weights": None,
    }
    path.write_text(yaml.safe_dump(config, sort_keys=False))


def weavers(folder, source, kind, labels):
    """What weaver makes of a file: features, vectors, mask and label of all jets."""
    data_config(folder / "data.yaml", kind, labels)
    data = weaver.SimpleIterDataset(
        {"jets": [str(source)]}, str(folder / "data.yaml"), for_training=False,
        fetch_step=1, async_load=False,
    )  # fmt: skip
    jets = list(data)
    inputs = [np.stack([x[name] for x, _, _ in jets]) for name in ("pf_features", "pf_vectors", "pf_mask")]
    return *inputs, np.array([y["_label_"] for _, y, _ in jets])


def compare(table, kind, wanted, labels):
    features, vectors, mask, label = wanted
    got_features, got_vectors, got_mask = model_inputs(sort_by_pt(table), kind)
    longest = got_mask.shape[-1]
    assert not mask[:, :, longest:].any()
    np.testing.assert_array_equal(got_mask, mask[:, :, :longest] > 0)
    real = np.broadcast_to(got_mask, got_features.shape)
    assert got_features.shape[1] == features.shape[1]
    np.testing.assert_allclose(got_features[real], features[:, :, :longest][real], rtol=0, atol=1e-6)
    real = np.broadcast_to(got_mask, got_vectors.shape)
    np.testing.assert_allclose(got_vectors[real], vectors[:, :, :longest][real], rtol=1e-6)
    np.testing.assert_array_equal(labels(table["label"].to_numpy()), label)


def momenta(jets, most, seed):
    """Random jets, particles in falling pT: pT, pseudorapidity and phi, (jets, most), zero beyond each."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, most + 1, (jets, 1))
    lengths[:2, 0] = most, 1
    real = np.arange(most) < lengths
    pt = -np.sort(-np.exp(random.normal(1, 1.5, (jets, most))) * real, axis=1)
    centre = random.uniform(-2, 2, (jets, 1)), random.uniform(-np.pi, np.pi, (jets, 1))
    eta, phi = (axis + random.normal(0, 0.2, (jets, most)) for axis in centre)
    return pt, eta * real, (np.angle(np.exp(1j * phi))) * real


def published_columns(p4, label):
    """Columns as the published converters compute them, by the library `vector`."""
    jet = ak.sum(p4, axis=1)
    side = np.where(ak.to_numpy(jet.eta) < 0, -1, 1)
    return {
        "label": label,
        "jet_pt": jet.pt,
        "jet_energy": jet.energy,
        "part_px": p4.px,
        "part_py": p4.py,
        "part_pz": p4.pz,
        "part_energy": p4.energy,
        "part_deta": (p4.eta - jet.eta) * side,
        "part_dphi": p4.deltaphi(jet),
    }


def to_parquet(columns, path):
    """Write columns as the published converters do."""
    ak.to_parquet(ak.Array({name: ak.to_packed(ak.Array(column)) for name, column in columns.items()}), path)


@pytest.mark.parametrize("kind", ["kin", "kinpid", "full"])
def test_jetclass(tmp_path, kind):
    random, (pt, eta, phi) = np.random.default_rng(1), momenta(30, 150, seed=1)
    counts, real = (pt > 0).sum(axis=1), pt > 0
    flat = {name: random.normal(0, 1, counts.sum()) for name in PARTICLE_COLUMNS}
    flat |= {name: random.random(counts.sum()) < 0.3 for name in IDENTITIES}
    pt, eta, phi = pt[real], eta[real], phi[real]
    flat |= {"part_px": pt * np.cos(phi), "part_py": pt * np.sin(phi), "part_pz": pt * np.sinh(eta)}
    flat["part_energy"] = np.hypot(pt * np.cosh(eta), 0.14)
    lists = {
        k: ak.unflatten(v.astype(bool if k in IDENTITIES else np.float32), counts) for k, v in flat.items()
    }
    one_hot = {name: np.arange(30) % 10 == place for place, name in enumerate(LABELS)}
    numbers = {name: random.uniform(500, 1000, 30).astype(np.float32) for name in JET_COLUMNS}
    with uproot.recreate(tmp_path / "a.root") as file:
        columns = {**lists, **one_hot, **numbers}
        file.mktree("tree", {name: ak.type(ak.Array(column)).content for name, column in columns.items()})
        file["tree"].extend(columns)
    table = pa.concat_tables(read_jetclass([tmp_path / "a.root"]))
    wanted = weavers(tmp_path, tmp_path / "a.root", kind, {"value": list(LABELS)})
    compare(table, kind, wanted, lambda label: label)


def test_top_landscape(tmp_path):
    pt, eta, phi = momenta(30, 200, seed=2)
    label = np.arange(30) % 2
    components = [pt * np.cosh(eta), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)]
    # pT falls after rounding to float32 too: equal pT would be ordered as it pleases.
    rows = np.stack(components, axis=-1).astype(np.float32)
    names = [f"{name}_{i}" for i in range(200) for name in ("E", "PX", "PY", "PZ")]
    frame = pd.DataFrame(rows.reshape(30, -1), columns=names)
    frame = pd.concat([frame, pd.DataFrame({"ttv": 0, "is_signal_new": label})], axis=1)
    frame.to_hdf(tmp_path / "top.h5", key="table", format="table", complevel=9, complib="blosc")
    energy, px, py, pz = (
        ak.unflatten(rows[pt > 0].T[i].astype(float), (pt > 0).sum(axis=1)) for i in range(4)
    )
    p4 = vector.zip({"px": px, "py": py, "pz": pz, "energy": energy})
    to_parquet(published_columns(p4, label), tmp_path / "top.parquet")
    table = pa.concat_tables(read_top_landscape([tmp_path / "top.h5"]))
    two = {"new": {"jet_isTop": "label", "jet_isQCD": "1-label"}, "value": ["jet_isTop", "jet_isQCD"]}
    wanted = weavers(tmp_path, tmp_path / "top.parquet", "kin", two)
    compare(table, "kin", wanted, lambda label: 1 - label)


@pytest.mark.parametrize("kind", ["kin", "kinpid", "kinpidplus"])
def test_quark_gluon(tmp_path, kind):
    random, (pt, rapidity, phi) = np.random.default_rng(3), momenta(30, 139, seed=3)
    label, counts = np.arange(30) % 2, (pt > 0).sum(axis=1)
    pid = random.choice([22, 211, -211, 321, -321, 130, 2112, -2112, 2212, -2212, 11, -11, 13, -13], pt.shape)
    x = np.stack([pt, rapidity, phi % (2 * np.pi), pid * (pt > 0)], axis=-1) * (pt > 0)[..., None]
    np.savez_compressed(tmp_path / "qg.npz", X=x, y=label.astype(float))
    names = ("pt", "eta", "phi", "pid")
    p = {name: ak.unflatten(x[pt > 0].T[i], counts) for i, name in enumerate(names)}
    p4 = vector.zip({"pt": p["pt"], "eta": p["eta"], "phi": p["phi"], "mass": ak.zeros_like(p["pt"])})
    number, sign = abs(p["pid"]), np.sign(p["pid"])
    hadron = (number == 211) | (number == 321) | (number == 2212)
    lepton = {"part_isElectron": number == 11, "part_isMuon": number == 13}
    charge = sign * (1.0 * hadron - lepton["part_isElectron"] - lepton["part_isMuon"])
    columns = published_columns(p4, label) | lepton | {"part_pid": p["pid"], "part_charge": charge}
    columns |= {"part_isChargedHadron": hadron, "part_isPhoton": number == 22}
    columns["part_isNeutralHadron"] = (number == 130) | (number == 2112)
    to_parquet(columns, tmp_path / "qg.parquet")
    table = pa.concat_tables(read_quark_gluon([tmp_path / "qg.npz"]))
    two = {"new": {"jet_isQ": "label", "jet_isG": "1-label"}, "value": ["jet_isQ", "jet_isG"]}
    wanted = weavers(tmp_path, tmp_path / "qg.parquet", kind, two)
    compare(table, kind, wanted, lambda label: 1 - label)
