"""Bad files of jets: ROOT, HDF5, npz and Parquet, all through the conversion."""

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uproot
from cases import Case, Payload, changed, content, zip_of_zeros, zipped
from small_trees import four_vectors, jet_arrays, write_quark_gluon, write_top, write_tree

from softjet.config.jets import Dataset
from softjet.jets.convert import SPLITS, convert
from softjet.jets.read import read_reference

JETS = 12
LABELS = [i % 2 for i in range(JETS)]
AGAIN = "make or fetch it again"


def reader(source: str) -> Callable[[Path, Path], None]:
    """Conversion of one file of this format."""

    def read(path: Path, out: Path) -> None:
        outputs = {split: [out / f"{split}_0.parquet"] for split in SPLITS}
        convert(
            Dataset(source=source, files=("x",)),
            [path],
            outputs,
            out / "rejected.parquet",
            out / "counts.parquet",
        )

    return read


jetclass, top, qg, parquet = map(reader, ("jetclass", "top_landscape", "quark_gluon", "parquet"))


def reference(path: Path, out: Path) -> None:
    read_reference(path)


def tree(folder: Path, name: str = "jets.root", **changes: object) -> Path:
    """A ROOT file of one class, with branches changed: by a value, or by a function of the branch; None: left out."""
    branches = jet_arrays(JETS, 1)
    for branch, change in changes.items():
        branches[branch] = change(branches[branch]) if callable(change) else change
    write_tree(folder / name, {key: value for key, value in branches.items() if value is not None})
    return folder / name


def with_value(value: float) -> Callable[[list], list]:
    """Change of a list branch: the first value of the third jet."""

    def change(lists: list) -> list:
        return [np.r_[value, item[1:]] if place == 2 else item for place, item in enumerate(lists)]

    return change


def without_tree(folder: Path) -> Path:
    with uproot.recreate(folder / "jets.root") as file:
        file["tree"] = np.histogram(np.arange(5))
    return folder / "jets.root"


def huge_root_header(data: bytes) -> bytes:
    """That says the file is of two gigabytes."""
    return data[:12] + struct.pack(">i", 2**31 - 1) + data[16:]


def top_file(folder: Path, **changes: object) -> Path:
    """A file of the top landscape; `jets` and `labels` may be given."""
    write_top(folder / "top.h5", changes.get("jets", four_vectors(JETS)), changes.get("labels", LABELS))
    return folder / "top.h5"


def top_with(edit: Callable[[h5py.File], object]) -> Callable[[Path], Path]:
    """Maker of a file of the top landscape that was edited."""

    def make(folder: Path) -> Path:
        path = top_file(folder)
        with h5py.File(path, "r+") as file:
            edit(file)
        return path

    return make


def names_of(file: h5py.File, block: int = 0) -> list[str]:
    return pickle.loads(bytes(file["table/table"].attrs[f"values_block_{block}_kind"]))  # noqa: S301 (our own)


def put_names(file: h5py.File, value: object, block: int = 0) -> None:
    file["table/table"].attrs[f"values_block_{block}_kind"] = value


def replace_table(file: h5py.File, make: Callable[[h5py.Group, h5py.Dataset], h5py.Dataset | None]) -> None:
    """Put another dataset in place of the frame's rows, with the same attributes."""
    old = file["table/table"]
    attributes = dict(old.attrs)
    file.move("table/table", "table/old")
    new = make(file["table"], file["table/old"])
    if new is not None:
        for key, value in attributes.items():
            new.attrs[key] = value


def sparse_rows(group: h5py.Group, old: h5py.Dataset) -> h5py.Dataset:
    return group.create_dataset("table", shape=(10**12,), chunks=(1000,), dtype=old.dtype)


def external_rows(group: h5py.Group, old: h5py.Dataset) -> h5py.Dataset:
    return group.create_dataset(
        "table", shape=(1,), dtype=old.dtype, external=[("/etc/passwd", 0, old.dtype.itemsize)]
    )


def virtual_rows(group: h5py.Group, old: h5py.Dataset) -> h5py.Dataset:
    layout = h5py.VirtualLayout((4,), dtype=old.dtype)
    layout[:] = h5py.VirtualSource("/tmp/elsewhere.h5", "table/table", (4,), dtype=old.dtype)
    return group.create_virtual_dataset("table", layout)


def linked_rows(group: h5py.Group, old: h5py.Dataset) -> None:
    group["table"] = h5py.ExternalLink("/tmp/elsewhere.h5", "table/table")


def flat_rows(group: h5py.Group, old: h5py.Dataset) -> h5py.Dataset:
    return group.create_dataset("table", data=np.zeros((4, 801)))


def momenta(place: int, value: float) -> list[np.ndarray]:
    """Jets of which the third has this value in this component of its hardest particle."""
    jets = four_vectors(JETS)
    jets[2][0, place] = value
    return jets


def qg_file(folder: Path) -> Path:
    write_quark_gluon(folder / "qg.npz", four_vectors(JETS), LABELS)
    return folder / "qg.npz"


def qg_with(**arrays: object) -> Callable[[Path], Path]:
    """Maker of an npz file with arrays changed: by a value or a function of the array."""

    def make(folder: Path) -> Path:
        x = write_quark_gluon(folder / "qg.npz", four_vectors(JETS), LABELS)
        stored = {"X": x, "y": np.asarray(LABELS, float)}
        for name, value in arrays.items():
            stored[name] = value(stored[name].copy()) if callable(value) else value
        np.savez_compressed(folder / "qg.npz", **stored)
        return folder / "qg.npz"

    return make


def put(place: tuple, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array[place] = value
        return array

    return change


def npy_header(text: str, version: bytes = b"\x01\x00") -> bytes:
    size = struct.pack("<H" if version == b"\x01\x00" else "<I", len(text))
    return b"\x93NUMPY" + version + size + text.encode()


def npz_of_header(shape: str, more: str = "") -> Callable[[Path], Path]:
    """Maker of an npz file whose X has a header with this text for its shape."""

    def make(folder: Path) -> Path:
        header = npy_header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, {more}}}\n")
        y = io.BytesIO()
        np.save(y, np.zeros(3))
        return zipped(folder / "qg.npz", {"X.npy": header + bytes(96), "y.npy": y.getvalue()})

    return make


def npz_bomb(folder: Path) -> Path:
    """300 MB of zeros in 300 kB, as their header says."""
    jets = (300 << 20) // 32
    header = npy_header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({jets}, 1, 4), }}\n")
    path = zip_of_zeros(folder / "qg.npz", "X.npy", header, 300 << 20)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        y = io.BytesIO()
        np.save(y, np.zeros(jets, np.uint8))
        archive.writestr("y.npy", y.getvalue())
    return path


def npz_of_long_header(folder: Path) -> Path:
    """A header of half a gigabyte, in half a megabyte."""
    start = b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 29)
    return zip_of_zeros(folder / "qg.npz", "X.npy", start, 1 << 29)


def encrypted(data: bytes) -> bytes:
    """With the flag of encryption in every header of the zip."""
    array = bytearray(data)
    for magic, flag in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = -1
        while (place := data.find(magic, place + 1)) >= 0:
            array[place + flag] |= 1
    return bytes(array)


def jet_columns() -> dict[str, pa.Array]:
    jets = four_vectors(JETS)
    lists = pa.list_(pa.float32())
    columns = {
        name: pa.array([jet[:, place] for jet in jets], lists)
        for place, name in enumerate(("part_px", "part_py", "part_pz", "part_energy"))
    }
    return {"label": pa.array(LABELS, pa.int8())} | columns


def parquet_with(metadata: dict | None = None, **changes: object) -> Callable[[Path], Path]:
    """Maker of a Parquet file with columns changed: by a value, or a function of the column's values."""

    def make(folder: Path) -> Path:
        columns = jet_columns()
        for name, change in changes.items():
            columns[name] = pa.array(change(columns[name].to_pylist()) if callable(change) else change)
        pq.write_table(pa.table(columns).replace_schema_metadata(metadata), folder / "jets.parquet")
        return folder / "jets.parquet"

    return make


def third(value: object) -> Callable[[list], list]:
    """Change of a column of lists: the first number of the third jet."""

    def change(values: list) -> list:
        values[2][0] = value
        return values

    return change


def _without_label(folder: Path) -> Path:
    path = parquet_with()(folder)
    pq.write_table(pq.read_table(path).drop_columns(["label"]), path)
    return path


def twice(folder: Path) -> Path:
    columns = jet_columns()
    table = pa.table([*columns.values(), columns["part_px"]], names=[*columns, "part_px"])
    pq.write_table(table, folder / "jets.parquet")
    return folder / "jets.parquet"


def long_list(folder: Path) -> Path:
    """One jet of eight million particles, in a few kilobytes."""
    size = 1 << 23
    column = pa.ListArray.from_arrays([0, size], pa.array(np.zeros(size, np.float32)))
    names = ("part_px", "part_py", "part_pz", "part_energy")
    pq.write_table(
        pa.table({"label": pa.array([0], pa.int8())} | dict.fromkeys(names, column)), folder / "jets.parquet"
    )
    return folder / "jets.parquet"


def many_rows(folder: Path) -> Path:
    """Twenty million jets without particles, in a few kilobytes."""
    rows = 20_000_000
    column = pa.ListArray.from_arrays(np.zeros(rows + 1, np.int32), pa.array([], pa.float32()))
    names = ("part_px", "part_py", "part_pz", "part_energy")
    table = pa.table({"label": pa.array(np.zeros(rows, np.int8))} | dict.fromkeys(names, column))
    pq.write_table(table, folder / "jets.parquet", row_group_size=rows)
    return folder / "jets.parquet"


def with_row_count(data: bytes) -> bytes:
    """Footer of other bytes: its length is beyond the file."""
    return data[:-8] + struct.pack("<I", 2**32 - 1) + data[-4:]


def link(target: str | None, name: str) -> Callable[[Path], Path]:
    """Maker of a symbolic link; None: to itself."""

    def make(folder: Path) -> Path:
        (folder / name).symlink_to(target or name)
        return folder / name

    return make


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "jets.root")
    return folder / "jets.root"


EVIL = "a b'\"$(touch EXECUTED)`touch EXECUTED`;\n\x1b[31m{x} <y>"

ROOT_CASES = {
    "empty": Case(jetclass, content("jets.root", b""), ("tree", AGAIN)),
    "only the magic": Case(jetclass, content("jets.root", b"root"), ("tree", AGAIN)),
    "wrong magic": Case(jetclass, changed(tree, lambda d: b"toor" + d[4:]), ("tree", AGAIN)),
    "huge header": Case(jetclass, changed(tree, huge_root_header), ("tree", "truncated")),
    "no tree but a histogram": Case(jetclass, without_tree, ("tree", "give files in JetClass's format")),
    "no jet": Case(jetclass, lambda folder: _empty_tree(folder), ("no jet in it",)),
    "nan": Case(jetclass, partial(tree, part_deta=with_value(np.nan)), ("part_deta of entry 2", "not finite")),
    "infinity": Case(jetclass, partial(tree, part_energy=with_value(np.inf)), ("part_energy of entry 2", "not finite")),
    "negative energy": Case(jetclass, partial(tree, part_energy=with_value(-1)), ("part_energy of entry 2", "not positive")),
    "along the beam": Case(jetclass, partial(tree, part_px=with_value(0), part_py=with_value(0), part_energy=with_value(9), part_pz=with_value(-9)), ("part_pz of entry 2", "along the beam")),
    "no particle": Case(jetclass, partial(tree, **{name: lambda v: [np.empty(0, i.dtype) if n == 2 else i for n, i in enumerate(v)] for name in jet_arrays(1, 1) if name.startswith("part_")}), ("part_px of entry 2", "no particle")),
    "lists of other lengths": Case(jetclass, partial(tree, part_d0val=lambda v: [np.r_[i, 0.0] for i in v]), ("part_d0val of entry 0", "longer or shorter")),
    "infinite jet": Case(jetclass, partial(tree, jet_pt=lambda v: np.where(np.arange(JETS) == 3, np.inf, v)), ("jet_pt of entry 3", "not finite")),
    "two labels": Case(jetclass, partial(tree, label_QCD=np.ones(JETS)), ("label_* of entry 0",)),
    "evil name": Case(jetclass, lambda folder: _named(folder, EVIL), ("tree", AGAIN)),
    "folder": Case(jetclass, lambda folder: folder, ("tree", "no such file")),
    "link to nowhere": Case(jetclass, link("/nowhere/at/all", "jets.root"), ("tree", "no such file")),
    "link to itself": Case(jetclass, link(None, "jets.root"), ("tree", "no such file")),
    "link to a device": Case(jetclass, link("/dev/zero", "jets.root"), ("tree", "no such file")),
    "link out of the tree": Case(jetclass, link("/etc/passwd", "jets.root"), ("tree", AGAIN)),
    "pipe": Case(jetclass, pipe, ("tree", "no such file")),
}  # fmt: skip


def _empty_tree(folder: Path) -> Path:
    write_tree(folder / "jets.root", {name: value[:0] for name, value in jet_arrays(JETS, 1).items()})
    return folder / "jets.root"


def _named(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(b"root")
    return path


HDF5_CASES = {
    "empty": Case(top, content("top.h5", b""), ("table", AGAIN)),
    "only the magic": Case(top, content("top.h5", b"\x89HDF\r\n\x1a\n"), ("table", AGAIN)),
    "wrong magic": Case(top, changed(top_file, lambda d: b"\x88" + d[1:]), ("table", AGAIN)),
    "rows that were never written": Case(top, top_with(lambda f: replace_table(f, sparse_rows)), ("table",)),
    "rows in another file": Case(top, top_with(lambda f: replace_table(f, external_rows)), ("table", "another file")),
    "rows of another file": Case(top, top_with(lambda f: replace_table(f, virtual_rows)), ("table", "another file")),
    "link to another file": Case(top, top_with(lambda f: replace_table(f, linked_rows)), ("table", "another file")),
    "rows without columns": Case(top, top_with(lambda f: replace_table(f, flat_rows)), ("table", "pandas frame")),
    "pickle that runs": Case(top, lambda folder: top_with(lambda f: put_names(f, np.void(pickle.dumps(Payload(folder)))))(folder), ("values_block_0_kind", "not loaded")),
    "pickle cut off": Case(top, top_with(lambda f: put_names(f, np.void(pickle.dumps(names_of(f))[:-20]))), ("values_block_0_kind",)),
    "number for a pickle": Case(top, top_with(lambda f: put_names(f, np.int64(10**12))), ("values_block_0_kind",)),
    "column twice": Case(top, top_with(lambda f: put_names(f, np.void(pickle.dumps([*names_of(f)[:-1], "PX_0"])))), ("PX_0", "twice")),
    "too few names": Case(top, top_with(lambda f: put_names(f, np.void(pickle.dumps(names_of(f)[:-1])))), ("values_block_0",)),
    "numbers for names": Case(top, top_with(lambda f: put_names(f, np.void(pickle.dumps(list(range(804)))))), ("values_block_0_kind", "BININT")),
    "nan": Case(top, partial(top_file, jets=momenta(0, np.nan)), ("part_px of entry 2", "not finite")),
    "infinity": Case(top, partial(top_file, jets=momenta(3, np.inf)), ("part_energy of entry 2", "not finite")),
    "negative energy": Case(top, partial(top_file, jets=momenta(3, -5)), ("part_energy of entry 2", "not positive")),
    "label beyond the classes": Case(top, partial(top_file, labels=[7] * JETS), ("label_* of entry 0",)),
}  # fmt: skip

NPZ_CASES = {
    "empty": Case(qg, content("qg.npz", b""), ("X", AGAIN)),
    "wrong magic": Case(qg, changed(qg_file, lambda d: d.replace(b"PK", b"KP")), ("X", AGAIN)),
    "encrypted": Case(qg, changed(qg_file, encrypted), ("X", "encrypted")),
    "objects that run": Case(qg, lambda folder: qg_with(y=np.array([Payload(folder)] * JETS, object))(folder), ("y", "never loaded")),
    "zip bomb": Case(qg, npz_bomb, ("part_px of entry 0", "no particle")),
    "header of half a gigabyte": Case(qg, npz_of_long_header, ("X", AGAIN)),
    "header that is no dict": Case(qg, lambda folder: zipped(folder / "qg.npz", {"X.npy": npy_header("__import__('os').mkdir('EXECUTED')\n")}), ("X", AGAIN)),
    "header nested deeply": Case(qg, npz_of_header("-" * 9000 + "1"), ("X", "memory")),
    "huge number in the shape": Case(qg, npz_of_header(f"(3, {10**30}, 4)"), ("X", "cannot hold them")),
    "shape that wraps to zero": Case(qg, npz_of_header(f"(3, {2**62}, 4)"), ("X", "cannot hold them")),
    "negative shape": Case(qg, npz_of_header("(-3, 1, 4)"), ("X",)),
    "complex numbers": Case(qg, qg_with(X=lambda x: x.astype(complex)), ("X", "complex128")),
    "text": Case(qg, qg_with(y=np.array(["quark"] * JETS)), ("y", "<U5")),
    "nan": Case(qg, qg_with(X=put((2, 0, 0), np.nan)), ("of entry 2", "not finite")),
    "infinite rapidity": Case(qg, qg_with(X=put((2, 0, 1), np.inf)), ("of entry 2", "not finite")),
    "negative momentum": Case(qg, qg_with(X=put((2, 0, 0), -3)), ("part_energy of entry 2", "not positive")),
    "label beyond the classes": Case(qg, qg_with(y=put(2, 2**40)), ("label_* of entry 2",)),
    "label nan": Case(qg, qg_with(y=put(2, np.nan)), ("label_* of entry 2",)),
    "no jet": Case(qg, qg_with(X=lambda x: x[:0], y=lambda y: y[:0]), ("no jet in it",)),
}  # fmt: skip

PARQUET_CASES = {
    "empty": Case(parquet, content("jets.parquet", b""), ("jets", AGAIN)),
    "only the magic": Case(parquet, content("jets.parquet", b"PAR1PAR1"), ("jets", AGAIN)),
    "wrong magic": Case(parquet, changed(parquet_with(), lambda d: d[:-4] + b"PAR2"), ("jets", AGAIN)),
    "huge footer": Case(parquet, changed(parquet_with(), with_row_count), ("jets", AGAIN)),
    "column twice": Case(parquet, twice, ("part_px", "twice")),
    "jet of millions of particles": Case(parquet, long_list, ("part_px", "particles")),
    "rows without end": Case(parquet, many_rows, ("part_px of entry 0", "no particle")),
    "nan": Case(parquet, parquet_with(part_px=third(np.nan)), ("part_px of entry 2", "not finite")),
    "infinity": Case(parquet, parquet_with(part_pz=third(-np.inf)), ("part_pz of entry 2", "not finite")),
    "negative energy": Case(parquet, parquet_with(part_energy=third(-1.0)), ("part_energy of entry 2", "not positive")),
    "huge label": Case(parquet, parquet_with(label=[2**62] * JETS), ("label_* of entry 0",)),
    "fraction of a label": Case(parquet, parquet_with(label=[0.5] * JETS), ("label",)),
    "text": Case(parquet, parquet_with(label=["QCD"] * JETS), ("label", "one number a jet")),
    "lists of lists": Case(parquet, parquet_with(part_px=[[[1.0]]] * JETS), ("part_px", "one list of numbers")),
    "no jet": Case(parquet, parquet_with(**dict.fromkeys(jet_columns(), lambda v: v[:0])), ("jets",)),
    "metadata that is no text": Case(parquet, parquet_with({b"classes": b"\xff\xfe,b"}), ("classes",)),
    "class named by a command": Case(parquet, parquet_with({"classes": "<script>alert(1)</script>,$(touch EXECUTED)\n"}), ("classes",)),
    "reference, nan": Case(reference, parquet_with(part_px=third(np.nan)), ("part_px of entry 2", "leave that jet out")),
    "reference, no label": Case(reference, lambda folder: _without_label(folder), ("label", "lacks this column")),
    "class named by a path": Case(parquet, parquet_with({"classes": "../../../tmp/x,b"}), ("classes",)),
}  # fmt: skip

CASES = {
    f"{kind}: {name}": case
    for kind, cases in (
        ("ROOT", ROOT_CASES),
        ("HDF5", HDF5_CASES),
        ("npz", NPZ_CASES),
        ("Parquet", PARQUET_CASES),
    )
    for name, case in cases.items()
}
