"""Small files of every format and tables of jets for the tests of this folder."""

import awkward as ak
import numpy as np
import pandas as pd
import pyarrow as pa
import uproot

from softjet.jets.schema import (
    CLASSES,
    IDENTITIES,
    JET_COLUMNS,
    LABELS,
    PARTICLE_COLUMNS,
    TREE,
    TRUTH_JET,
    TRUTH_PARTICLES,
    TRUTH_PRONGS,
    jet_schema,
)


def jet_arrays(jets, label, seed=0, truth=False):
    """Branches of random jets of one class: flat arrays, and lists of arrays for the list branches."""
    random = np.random.default_rng([seed, label])
    lengths = random.integers(1, 12, jets)
    pt = [np.sort(random.exponential(20, n))[::-1] + 0.5 for n in lengths]
    eta, phi = ([random.normal(0, 0.3, n) for n in lengths] for _ in range(2))
    branches = {name: [random.normal(0, 0.2, n) for n in lengths] for name in PARTICLE_COLUMNS}
    branches |= {name: [random.random(n) > 0.5 for n in lengths] for name in IDENTITIES}
    branches["part_px"] = [p * np.cos(f) for p, f in zip(pt, phi, strict=True)]
    branches["part_py"] = [p * np.sin(f) for p, f in zip(pt, phi, strict=True)]
    branches["part_pz"] = [p * np.sinh(e) for p, e in zip(pt, eta, strict=True)]
    branches["part_energy"] = [p * np.cosh(e) for p, e in zip(pt, eta, strict=True)]
    branches |= {name: random.uniform(500, 1000, jets) for name in JET_COLUMNS}
    branches["jet_nparticles"] = lengths.astype(float)
    branches |= {name: np.full(jets, float(name == LABELS[label])) for name in LABELS}
    if truth:
        branches |= {name: random.integers(0, 100, jets) for name in TRUTH_JET}
        branches |= {name: [random.integers(0, 100, 2) for _ in lengths] for name in TRUTH_PRONGS}
        branches |= {name: [random.integers(0, 2, n) for n in lengths] for name in TRUTH_PARTICLES}
    return branches


def write_tree(path, branches, tree=TREE):
    """Write branches as they are, in their own numeric types, each list with its own lengths."""
    arrays = {
        name: value if isinstance(value, np.ndarray) else _lists(value) for name, value in branches.items()
    }
    kinds = {n: a.dtype if isinstance(a, np.ndarray) else ak.type(a).content for n, a in arrays.items()}
    with uproot.recreate(path) as file:
        file.mktree(tree, kinds)
        if len(next(iter(branches.values()))):
            file[tree].extend(arrays)


def _lists(value):
    lengths = np.array([len(item) for item in value], int)
    flat = np.concatenate(value) if value else np.empty(0)
    return ak.unflatten(flat.astype(np.float32) if flat.dtype == np.float64 else flat, lengths)


def ten_classes(folder, jets, truth=False):
    """One file a class; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}_0.root" for name in CLASSES]
    for label, path in enumerate(paths):
        write_tree(path, jet_arrays(jets, label, truth=truth))
    return paths


def jet_table(lengths, seed=0):
    """Table of random jets in the schema, with particles in falling pT and labels that take turns."""
    random = np.random.default_rng(seed)
    columns = {"label": np.arange(len(lengths)) % len(CLASSES)}
    columns |= {name: random.uniform(500, 1000, len(lengths)) for name in JET_COLUMNS}
    columns |= {name: [random.normal(0, 0.2, n) for n in lengths] for name in PARTICLE_COLUMNS}
    columns |= {name: [random.random(n) > 0.5 for n in lengths] for name in IDENTITIES}
    columns["part_px"] = [np.sort(random.exponential(20, n))[::-1] + 0.5 for n in lengths]
    columns["part_py"] = [np.zeros(n) for n in lengths]
    columns["part_energy"] = [px + 1 for px in columns["part_px"]]
    columns["source"] = pa.array(["a.root"] * len(lengths)).dictionary_encode()
    columns["entry"] = np.arange(len(lengths))
    return pa.table({f.name: pa.array(columns[f.name], f.type) for f in jet_schema(False)})


def four_vectors(jets, seed=0, most=12):
    """Particles of random massless jets around their own axes: a list of (n, 4) arrays, px py pz energy."""
    random = np.random.default_rng(seed)
    made = []
    for n in random.integers(2, most, jets):
        pt = np.sort(random.exponential(30, n))[::-1] + 0.5
        eta, phi = random.normal(random.uniform(-2, 2), 0.2, n), random.normal(random.uniform(-3, 3), 0.2, n)
        made.append(
            np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta)], axis=1)
        )
    return made


def write_top(path, jets, labels, slots=200):
    """Write a file of the top landscape as pandas does: particles in slots, energy first, blosc."""
    columns = [f"{name}_{i}" for i in range(slots) for name in ("E", "PX", "PY", "PZ")]
    rows = np.zeros((len(jets), slots, 4), np.float32)
    for row, jet in zip(rows, jets, strict=True):
        row[: len(jet)] = jet[:, [3, 0, 1, 2]]
    truth = ["truthE", "truthPX", "truthPY", "truthPZ"]
    values = np.concatenate([rows.reshape(len(jets), -1), np.ones((len(jets), 4), np.float32)], axis=1)
    frame = pd.DataFrame(values, columns=columns + truth)
    frame = pd.concat([frame, pd.DataFrame({"ttv": 0, "is_signal_new": labels})], axis=1)
    frame.to_hdf(path, key="table", format="table", complevel=9, complib="blosc")


PIDS = (22, 211, -211, 321, -321, 130, 2112, -2112, 2212, -2212, 11, -11, 13, -13)


def write_quark_gluon(path, jets, labels, seed=0, slots=20):
    """Write an npz file as EnergyFlow's; X as it stands there."""
    random = np.random.default_rng(seed)
    x = np.zeros((len(jets), slots, 4))
    for row, p in zip(x, jets, strict=True):
        pt = np.hypot(p[:, 0], p[:, 1])
        pid = random.choice(PIDS, len(p))
        columns = pt, np.arctanh(p[:, 2] / p[:, 3]), np.arctan2(p[:, 1], p[:, 0]) % (2 * np.pi), pid
        row[: len(p)] = np.stack(columns, axis=1)
    np.savez_compressed(path, X=x, y=np.asarray(labels, float))
    return x
