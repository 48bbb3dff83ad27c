"""A small Parquet file of jets, for the tests that train from files."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def write_jets(path, jets, seed=0):
    """Write jets of two of ten classes, of which one is wide and has more particles; give the path."""
    random = np.random.default_rng(seed)
    labels = np.arange(jets) % 2
    lengths = 2 + 4 * labels + random.integers(0, 6, jets)
    pt = [np.sort(random.exponential(20, n))[::-1] + 0.5 for n in lengths]
    width = 0.02 + 0.3 * labels
    eta, phi = ([random.normal(0, w, n) for n, w in zip(lengths, width, strict=True)] for _ in range(2))
    lists = {
        "part_px": [p * np.cos(f) for p, f in zip(pt, phi, strict=True)],
        "part_py": [p * np.sin(f) for p, f in zip(pt, phi, strict=True)],
        "part_pz": [p * np.sinh(e) for p, e in zip(pt, eta, strict=True)],
        "part_energy": [p * np.cosh(e) for p, e in zip(pt, eta, strict=True)],
        "part_deta": eta,
        "part_dphi": phi,
    }
    columns = {name: pa.array(values, pa.list_(pa.float32())) for name, values in lists.items()}
    total = np.array([p.sum() for p in pt], np.float32)
    columns |= {"label": pa.array(labels, pa.int8()), "jet_pt": total, "jet_energy": 1.1 * total}
    columns |= {"jet_eta": np.zeros(jets, np.float32), "jet_phi": np.zeros(jets, np.float32)}
    pq.write_table(pa.table(columns), path)
    return str(path)
