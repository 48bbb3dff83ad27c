"""Fuzz all readers and the configuration: `make fuzz`, or `python tests/hostile/fuzz.py --minutes 1`.

Small sound files are spoiled byte by byte, or value by value where they are JSON or YAML, or within the
archive that holds them. Of every spoiled file a reader in a process of its own makes a result or one line; it runs
nothing, writes nothing elsewhere, and stays within bounds of time and memory. What breaks that is kept under
`results/fuzz`, and belongs into the corpus beside this file.
"""

import argparse
import contextlib
import copy
import hashlib
import io
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

sys.path[:0] = [str(Path(__file__).parents[1] / "unit" / kind) for kind in ("jets", "language")]

import bad_jets  # noqa: E402 (beside the path)
import bad_text  # noqa: E402
import bad_weights  # noqa: E402
import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import torch  # noqa: E402
import transformers.models.gpt2.modeling_gpt2  # noqa: E402
import transformers.models.llama.modeling_llama  # noqa: E402, F401 (before the processes part)
import yaml  # noqa: E402
from hypothesis import HealthCheck, Phase, given, seed, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from safetensors.torch import save_model  # noqa: E402
from small_trees import jet_table  # noqa: E402
from watch import files, watched  # noqa: E402

from softjet.config.jets import Dataset  # noqa: E402
from softjet.config.load import load_config  # noqa: E402
from softjet.config.root import Config  # noqa: E402
from softjet.errors import InputError  # noqa: E402
from softjet.jets.check import find_bad_jets  # noqa: E402
from softjet.jets.convert import SPLITS, convert  # noqa: E402
from softjet.jets.observables import add_substructure  # noqa: E402
from softjet.language.glue import classification_rows  # noqa: E402
from softjet.language.tokenizers import load_tokenizer  # noqa: E402
from softjet.language.wikitext import text_rows  # noqa: E402
from softjet.lowrank.low_rank import LowRankLinear, Piece  # noqa: E402

bad_jets.JETS, bad_jets.LABELS = 60, [place % 2 for place in range(60)]  # every class in every split

SHARES = {"train": 0.4, "validation": 0.3, "test": 0.3}

SECONDS = 30
"""Most time of an example."""

EXAMPLES = 25
"""Of a target in one round."""

FINE, REFUSED, BROKEN = range(3)


class Target(NamedTuple):
    """A reader and a sound input: a file in a folder, or the folder itself."""

    read: Callable[[Path, Path], object]
    make: Callable[[Path], Path]
    file: str
    member: str = ""
    """End of a name in the archive that the file is."""


def converted(source: str) -> Callable[[Path, Path], None]:
    """Conversion that lists bad jets apart, so that all of a file is read; and no bad jet gets through."""

    def read(path: Path, out: Path) -> None:
        outputs = {split: [out / f"{split}_0.parquet"] for split in SPLITS}
        convert(
            Dataset(source=source, files=("x",), bad_jets="reject", fractions=SHARES),
            [path],
            outputs,
            out / "rejected.parquet",
            out / "counts.parquet",
        )
        for (path,) in outputs.values():
            assert not find_bad_jets(pq.read_table(path))

    return read


def plain_parquet(folder: Path) -> Path:
    path = bad_jets.parquet_with()(folder)
    pq.write_table(pq.read_table(path), path, compression="none", use_dictionary=["label"])
    return path


def stored_npz(folder: Path) -> Path:
    path = bad_jets.qg_file(folder)
    with np.load(path) as arrays:
        np.savez(path, **arrays)
    return path


def text_table(write: Callable[[pa.Table, Path], object], name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        table = pa.table({"sentence": ["good", "bad film", "fine"] * 5, "label": [1, 0, 1] * 5})
        write(table, folder / name)
        return folder

    return make


def arrow_stream(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def sentences(folder: Path, out: Path) -> None:
    classification_rows("sst2", folder, ("train",))


def text(folder: Path, out: Path) -> None:
    text_rows("text", folder, "train")


def wheel(folder: Path) -> Path:
    return bad_text.zipped(folder / "small.whl", {"data/words.txt": b"some words"})


def default_config(folder: Path) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(Config().model_dump(mode="json"), sort_keys=False))
    return path


def compressed(folder: Path) -> Path:
    """A network whose head is of low rank."""
    model = copy.deepcopy(bad_weights.network())
    model.head = LowRankLinear(16, [Piece(2, 2)], bias=True)
    bad_weights.small(ranks=bad_weights.rank_of(2))(folder)
    save_model(model, str(folder / "model.safetensors"))
    return folder


def whole_gguf(folder: Path) -> Path:
    """A Llama of one layer."""
    from test_gguf import llama, write

    write(folder / "model.gguf", llama())
    return folder


LINES = b"sentence\tlabel\n" + b"good film\t1\nbad\t0\n" * 6
JSON = b'{"sentence": "good", "label": 1}\n{"sentence": "bad", "label": 0}\n'
WORDS = {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}
TARGETS = {
    "ROOT": Target(converted("jetclass"), bad_jets.tree, "jets.root"),
    "HDF5": Target(converted("top_landscape"), bad_jets.top_file, "top.h5"),
    "npz": Target(converted("quark_gluon"), stored_npz, "qg.npz"),
    "npz, array": Target(converted("quark_gluon"), stored_npz, "qg.npz", "X.npy"),
    "Parquet": Target(converted("parquet"), plain_parquet, "jets.parquet"),
    "weights": Target(bad_weights.imported, bad_weights.pt(), "mine.pt"),
    "weights, pickle": Target(bad_weights.imported, bad_weights.pt(), "mine.pt", "data.pkl"),
    "safetensors": Target(bad_weights.loaded, bad_weights.folder_with(), "model.safetensors"),
    "shape": Target(bad_weights.loaded, bad_weights.folder_with(), "config.json"),
    "compressed": Target(bad_weights.compressed, compressed, "config.json"),
    "state, pickle": Target(bad_weights.resumed, bad_weights.state(lambda s: None), "state.pt", "data.pkl"),
    "model": Target(bad_text.model, bad_text.gpt2(), "model.safetensors"),
    "model, config": Target(bad_text.model, bad_text.gpt2(), "config.json"),
    "GGUF": Target(bad_text.llama, whole_gguf, "model.gguf"),
    "GGUF, tokenizer": Target(lambda folder, out: load_tokenizer(folder), whole_gguf, "model.gguf"),
    "llama2.c": Target(bad_text.llama, bad_text.llama2c(8, 8, 1, 2, 2, 4, 4, body=bytes(4 * 520)), "model.bin"),
    "tokenizer.bin": Target(bad_text.tokenizer, bad_text.vocabulary(*[(0.5, 1, b"%c" % n) for n in range(60)]), "tokenizer.bin"),
    "tokenizer": Target(bad_text.tokenizer, bad_text.tokens({"pad_token": {"content": "b"}}, model=WORDS), "tokenizer.json"),
    "tokenizer, settings": Target(bad_text.tokenizer, bad_text.tokens({"pad_token": {"content": "b"}}), "tokenizer_config.json"),
    "GLUE, lines": Target(sentences, bad_text.file("train.tsv", LINES), "train.tsv"),
    "GLUE, CSV": Target(sentences, bad_text.file("train.csv", LINES.replace(b"\t", b",")), "train.csv"),
    "GLUE, JSON": Target(sentences, bad_text.file("train.jsonl", JSON), "train.jsonl"),
    "GLUE, Parquet": Target(sentences, text_table(pq.write_table, "train.parquet"), "train.parquet"),
    "GLUE, Arrow": Target(sentences, text_table(arrow_stream, "train.arrow"), "train.arrow"),
    "text": Target(text, bad_text.file("train.raw.gz", bad_text.gzip.compress(b"words and words\n" * 30)), "train.raw.gz"),
    "package": Target(bad_text.package, wheel, "small.whl"),
    "configuration": Target(lambda path, out: load_config(path), default_config, "mine.yaml"),
}  # fmt: skip

NUMBERS = (0, 1, -1, 2**7, 2**15, 2**16 - 1, 2**31 - 1, -(2**31), 2**32 - 1, 2**62, 2**63 - 1, -(2**63))
VALUES = st.one_of(
    st.integers(0, 64), st.floats(0, 1), st.none(), st.booleans(), st.sampled_from([*NUMBERS, 10**30, 0.5, -0.0, float("inf"), float("nan")]),
    st.sampled_from(["", "x", "../../x", "/etc/passwd", "$(touch EXECUTED)", "a b", "'", '"', "{x}", "\n", "\0", "-1"]),
    st.text(max_size=8), st.just([]), st.just({}), st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
)  # fmt: skip


@st.composite
def spoiled_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes after some cuts, flips, splices and numbers written over them."""
    for _ in range(draw(st.integers(1, 4))):
        size = len(data)
        ends = st.one_of(st.integers(0, min(size, 400)), st.integers(max(0, size - 400), size))
        place = draw(st.one_of(ends, st.integers(0, size)))
        kind = draw(st.sampled_from(("flip", "number", "number", "cut", "double", "insert", "end")))
        length = draw(st.integers(1, 64))
        if kind == "flip" and place < size:
            data = data[:place] + bytes([data[place] ^ (1 << draw(st.integers(0, 7)))]) + data[place + 1 :]
        elif kind == "number":
            wide, order = draw(st.sampled_from((1, 2, 4, 8))), draw(st.sampled_from(("little", "big")))
            number = draw(st.sampled_from(NUMBERS)) % (1 << 8 * wide)
            data = data[:place] + number.to_bytes(wide, order) + data[place + wide :]
        elif kind == "cut":
            data = data[:place] + data[place + length :]
        elif kind == "double":
            data = data[: place + length] + data[place:]
        elif kind == "insert":
            data = data[:place] + draw(st.binary(min_size=1, max_size=16)) + data[place:]
        else:
            data = data[:place]
    return data


@st.composite
def spoiled_values(draw: st.DrawFn, values: Any) -> Any:
    """A tree of values, with some replaced, left out or under another key."""
    values = copy.deepcopy(values)
    for _ in range(draw(st.integers(1, 2))):
        inner, parent, key = values, None, None
        while isinstance(inner, dict | list) and inner and (parent is None or draw(st.integers(0, 5))):
            parent = inner
            key = draw(st.sampled_from(sorted(inner) if isinstance(inner, dict) else range(len(inner))))
            inner = parent[key]
        if parent is None:
            continue
        if isinstance(parent, dict) and not draw(st.integers(0, 3)):
            parent[draw(st.text(max_size=6))] = parent.pop(key)
        else:
            parent[key] = draw(VALUES)
    return values


def spoiled(target: Target, data: bytes) -> st.SearchStrategy[bytes]:
    """Contents of a target's file."""
    if target.member:
        name = next(name for name in _members(data) if name.endswith(target.member))
        return spoiled_bytes(_members(data)[name]).map(lambda inner: _with_member(data, name, inner))
    if not target.file.endswith((".json", ".yaml")):
        return spoiled_bytes(data)
    is_json = target.file.endswith(".json")
    values = json.loads(data) if is_json else yaml.safe_load(data)
    written = spoiled_values(values).map(lambda v: (json.dumps(v) if is_json else yaml.dump(v)).encode())
    return st.one_of(written, written, spoiled_bytes(data))


def _members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _with_member(data: bytes, name: str, inner: bytes) -> bytes:
    """The archive with other content of one member, and right checksums."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for member, content in (_members(data) | {name: inner}).items():
            archive.writestr(member, content)
    return packed.getvalue()


def outcome(target: Target, given_folder: Path, path: Path, out: Path) -> tuple[int, str]:
    """Let a process of its own read; what came of it, and what is to be said of it."""
    word = out.parent / "word"
    before = files(given_folder)
    child = os.fork()
    if child == 0:
        _read_and_end(target, path, out, word)
    status = _wait(child)
    said = word.read_text(errors="replace") if word.exists() else ""
    if os.WIFSIGNALED(status):
        return BROKEN, f"ended by {signal.Signals(os.WTERMSIG(status)).name}"
    if files(given_folder) != before:
        return BROKEN, f"wrote {files(given_folder) - before}"
    return os.WEXITSTATUS(status), said


def _read_and_end(target: Target, path: Path, out: Path, word: Path) -> None:
    """Be the process that reads."""
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    os.chdir(out)
    code, said = BROKEN, "no word"
    try:
        with watched(out) as seen:
            code, said = _outcome(target, path, out)
        if seen.ran or seen.wrote:
            code, said = BROKEN, f"ran {seen.ran}, wrote {seen.wrote}"
    except BaseException:
        said = traceback.format_exc()
    finally:
        word.write_text(said, errors="replace")
        os._exit(code)


def _outcome(target: Target, path: Path, out: Path) -> tuple[int, str]:
    try:
        target.read(path, out)
    except InputError as error:
        line = str(error)
        return (REFUSED if line.isprintable() and len(line) < 2000 else BROKEN), line
    except BaseException:
        return BROKEN, traceback.format_exc()
    return FINE, ""


def _wait(child: int) -> int:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


@contextlib.contextmanager
def sound(name: str, target: Target) -> Iterator[tuple[Path, Path, Path]]:
    """Folder of a sound input, what is read, and a folder for what is written."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        folder, out = Path(place) / "given", Path(place) / "out"
        folder.mkdir()
        out.mkdir()
        path = target.make(folder)
        code, said = outcome(target, folder, path, out)
        shutil.rmtree(out)
        out.mkdir()
        # A package is refused for its digest; all other inputs are read as they are.
        assert code == (REFUSED if name == "package" else FINE), f"{name}: {said}"
        yield folder, path, out


def fuzz(name: str, target: Target, number: int, keep: Path) -> tuple[dict[int, int], str]:
    """One round of a target: how often it ended how, and what went wrong."""
    counts = dict.fromkeys((FINE, REFUSED, BROKEN), 0)
    last: dict[str, object] = {}
    with sound(name, target) as (folder, path, out):
        file = folder / target.file

        @seed(number)
        @settings(
            max_examples=EXAMPLES, deadline=None, database=None, phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck), print_blob=False,
        )  # fmt: skip
        @given(spoiled(target, file.read_bytes()))
        def reads(data: bytes) -> None:
            file.write_bytes(data)
            shutil.rmtree(out)
            out.mkdir()
            code, said = outcome(target, folder, path, out)
            counts[code] += 1
            if code == BROKEN:
                last.update(data=data, said=said)
                raise AssertionError(said)

        try:
            reads()
        except BaseException as error:  # hypothesis groups what it finds
            if isinstance(error, KeyboardInterrupt) or not last:
                raise
    return counts, _kept(name, target, last, keep) if last else ""


def _kept(name: str, target: Target, last: dict, keep: Path) -> str:
    digest = hashlib.sha256(last["data"]).hexdigest()[:12]
    folder = keep / f"{name.replace(', ', '-').replace(' ', '_')}-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / target.file).write_bytes(last["data"])
    (folder / "said.txt").write_text(str(last["said"]), errors="replace")
    return f"{folder}: {str(last['said']).strip().splitlines()[-1]:.300}"


def main() -> int:
    """Round after round over all targets until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first round")
    parser.add_argument("--only", action="append", choices=TARGETS, help="these targets")
    parser.add_argument("--keep", type=Path, default=Path("results/fuzz"))
    said = parser.parse_args()
    torch.set_num_threads(1)
    add_substructure(jet_table([3, 4]))  # compiled before the processes part
    total: dict[str, dict[int, int]] = {}
    wrong, end = [], time.monotonic() + 60 * said.minutes
    for number in count(said.seed):
        for name in said.only or TARGETS:
            if time.monotonic() > end:
                return _report(total, wrong)
            counts, broken = fuzz(name, TARGETS[name], number, said.keep)
            total[name] = {code: total.get(name, {}).get(code, 0) + n for code, n in counts.items()}
            wrong += [broken] if broken else []
            print(
                f"seed {number}, {name}: {counts[FINE]} read, {counts[REFUSED]} refused", broken, flush=True
            )
    return 1


def _report(total: dict[str, dict[int, int]], wrong: list[str]) -> int:
    for name, counts in total.items():
        print(f"{name}: {counts[FINE]} read, {counts[REFUSED]} refused, {counts[BROKEN]} wrong")
    print(
        f"{sum(map(sum, map(dict.values, total.values())))} examples, {len(wrong)} findings", *wrong, sep="\n"
    )
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
