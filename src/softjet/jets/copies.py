"""Files of many jets in the formats of published datasets, made of a few, to measure readers with."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import uproot
from numpy.typing import NDArray

from softjet.jets.batches import JetLoader
from softjet.jets.features import Kind
from softjet.jets.read import FORMATS
from softjet.jets.schema import TREE
from softjet.jets.tables import MOMENTUM, list_lengths, list_values

TOP_SLOTS, QUARK_GLUON_SLOTS = 200, 139
"""Particles that a row of the published files has room for."""


def read_all(source: str, paths: Sequence[str | Path]) -> int:
    """Read files of a format to their end, a piece at a time, and count the jets."""
    return sum(len(piece) for piece in FORMATS[source].read(paths))


def read_raw(paths: Sequence[str | Path], names: Sequence[str]) -> int:
    """Read branches of JetClass's files as uproot gives them, a file at a time, and count the jets."""
    jets = 0
    for path in paths:
        with uproot.open(path) as file:
            jets += len(file[TREE].arrays(list(names), library="ak"))
    return jets


def pass_over(paths: Sequence[str | Path], features: Kind, batch_size: int, max_particles: int) -> int:
    """Make every batch of an evaluation of Parquet files, and count the jets."""
    loader = JetLoader(paths, features, batch_size, 0, max_particles)
    return sum(len(batch.labels) for batch in loader.evaluation())


def linked(path: Path, copies: int) -> list[Path]:
    """The file under so many names in its folder, without more space on the disk."""
    names = [path.with_name(f"{path.stem}_{i}{path.suffix}") for i in range(copies)]
    for name in names:
        name.hardlink_to(path)
    return names


def write_top_landscape(path: str | Path, jets: pa.Table, copies: int) -> None:
    """Write an HDF5 file of the top landscape that holds jets so many times; every second one is a top.

    Parameters
    ----------
    path : path
    jets : pyarrow.Table
        With the particles' momenta.
    copies : int
    """
    slots = _slots(jets, TOP_SLOTS)[..., [3, 0, 1, 2]]
    names = [f"{name}_{i}" for i in range(TOP_SLOTS) for name in ("E", "PX", "PY", "PZ")]
    frame = pd.DataFrame(slots.reshape(len(jets), -1), columns=names)
    frame = pd.concat([frame, pd.DataFrame({"is_signal_new": np.arange(len(jets)) % 2})], axis=1)
    for _ in range(copies):
        frame.to_hdf(path, key="table", format="table", append=True, complevel=1, complib="blosc")


def write_quark_gluon(path: str | Path, jets: pa.Table, copies: int) -> None:
    """Write an npz file as EnergyFlow's that holds jets so many times, of photons, every second one a quark.

    Parameters
    ----------
    path : path
    jets : pyarrow.Table
        With the particles' momenta.
    copies : int
    """
    px, py, pz, _ = np.moveaxis(_slots(jets, QUARK_GLUON_SLOTS).astype(np.float64), -1, 0)
    pt = np.hypot(px, py)
    rapidity = np.arcsinh(np.divide(pz, pt, out=np.zeros_like(pz), where=pt > 0))
    x = np.stack([pt, rapidity, np.arctan2(py, px) % (2 * np.pi), 22.0 * (pt > 0)], axis=-1)
    np.savez_compressed(path, X=np.tile(x, (copies, 1, 1)), y=np.arange(copies * len(jets)) % 2.0)


def _slots(jets: pa.Table, slots: int) -> NDArray[np.float32]:
    """Four-vectors of each jet's first particles, float32 (jets, slots, 4), zero beyond them."""
    lengths = list_lengths(jets, MOMENTUM[0])
    values = np.stack([list_values(jets, name) for name in MOMENTUM], axis=1)
    place = np.arange(len(values)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    kept = place < slots
    found = np.zeros((len(jets), slots, 4), np.float32)
    found[np.repeat(np.arange(len(jets)), lengths)[kept], place[kept]] = values[kept]
    return found
