"""Bad sources of language models: tokenizers, GGUF, llama2.c, safetensors, packages, GLUE and WikiText."""

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import gguf
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from cases import Case, Payload, changed, content, zip_of_zeros, zipped

from softjet.config.language import Source
from softjet.language.download import fetch_package, take_members
from softjet.language.glue import classification_rows
from softjet.language.models import load_model, new_model, save_model
from softjet.language.packages import Member, Package
from softjet.language.registry import resolve
from softjet.language.tokenizers import load_tokenizer
from softjet.language.wikitext import text_rows

GPT2 = {"vocab_size": 60, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32}
NESTED = b"[" * 100_000 + b"]" * 100_000


def model(folder: Path, out: Path) -> None:
    load_model(folder, "gpt2")


def llama(folder: Path, out: Path) -> None:
    load_model(folder, "llama")


def tokenizer(folder: Path, out: Path) -> None:
    load_tokenizer(folder, 60)


def sentences(folder: Path, out: Path) -> None:
    classification_rows("sst2", folder, ("train",))


def text(folder: Path, out: Path) -> None:
    text_rows("text", folder, "train")


def package(archive: Path, out: Path) -> None:
    member = Member(("data/words.txt",), 10, "0" * 64)
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        take_members("small", Package("pip", {}, {"words.txt": member}, "MIT", "words"), [archive], scratch)


def source(given: Source, out: Path) -> None:
    resolve(given, out, out)


def file(name: str, data: bytes | Callable[[Path], bytes]) -> Callable[[Path], Path]:
    """Maker of a folder with one file."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data(folder) if callable(data) else data)
        return folder

    return make


@cache
def gpt2_files() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        save_model(folder, new_model("gpt2", GPT2, 1))
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def gpt2(files: dict[str, bytes | None] | None = None, **config: object) -> Callable[[Path], Path]:
    """Maker of the folder of a small GPT-2 with other files, None: without, and other keys of config.json."""

    def make(folder: Path) -> Path:
        found = gpt2_files()
        found = found | {"config.json": json.dumps(json.loads(found["config.json"]) | config).encode()}
        for name, data in (found | (files or {})).items():
            if data is not None:
                (folder / name).write_bytes(data)
        return folder

    return make


def with_weight(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from safetensors.torch import load_file, save_file

        gpt2()(folder)
        weights = load_file(folder / "model.safetensors")
        weights["transformer.wpe.weight"] = change(weights["transformer.wpe.weight"])
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    return make


def index(target: str) -> bytes:
    return json.dumps({"metadata": {}, "weight_map": {"transformer.wpe.weight": target}}).encode()


def linked(
    name: str, target: str, base: Callable[[Path], Path] = lambda folder: folder
) -> Callable[[Path], Path]:
    """Maker of a folder in which one file is a symbolic link."""

    def make(folder: Path) -> Path:
        base(folder)
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)
        return folder

    return make


def gguf_file(
    add: Callable[[gguf.GGUFWriter], object] = lambda writer: None, layers: int = 1
) -> Callable[[Path], Path]:
    """Maker of a folder with a small GGUF file."""

    def make(folder: Path) -> Path:
        writer = gguf.GGUFWriter(folder / "model.gguf", "llama")
        for name, value in (
            ("block_count", layers),
            ("context_length", 8),
            ("embedding_length", 8),
            ("feed_forward_length", 8),
            ("head_count", 2),
            ("head_count_kv", 2),
            ("vocab_size", 4),
        ):
            getattr(writer, f"add_{name}")(value)
        writer.add_layer_norm_rms_eps(1e-5)
        add(writer)
        writer.add_tensor("token_embd.weight", np.zeros((4, 8), np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return folder

    return make


def in_gguf(place: int, packed: bytes) -> Callable[[Path], Path]:
    """Maker of a folder with a GGUF file of other bytes at a place of its header."""

    def make(folder: Path) -> Path:
        gguf_file()(folder)
        path = folder / "model.gguf"
        data = path.read_bytes()
        path.write_bytes(data[:place] + packed + data[place + len(packed) :])
        return folder

    return make


def llama2c(*header: int, body: bytes = b"") -> Callable[[Path], Path]:
    return file("model.bin", struct.pack("<7i", *header) + body)


def not_finite(folder: Path) -> Path:
    width, inner, words, length = 8, 8, 4, 4
    numbers = words * width + 2 * width + 4 * width * width + 3 * width * inner + width + length * width // 2
    return llama2c(width, inner, 1, 2, 2, words, length, body=np.full(numbers, np.nan, "<f4").tobytes())(
        folder
    )


def vocabulary(*tokens: tuple[float, int, bytes]) -> Callable[[Path], Path]:
    return file(
        "tokenizer.bin", struct.pack("<i", 9) + b"".join(struct.pack("<fi", s, n) + t for s, n, t in tokens)
    )


def tar(*members: tarfile.TarInfo) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        with tarfile.open(folder / "small.tgz", "w:gz") as archive:
            for member in members:
                archive.addfile(member)
        return folder / "small.tgz"

    return make


def tar_link(name: str, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


def encrypted_zip(folder: Path) -> Path:
    data = bytearray(zipped(folder / "small.whl", {"data/words.txt": b"some words"}).read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (folder / "small.whl").write_bytes(data)
    return folder / "small.whl"


def before_itself(data: bytes) -> bytes:
    """A zip whose directory places its member before the beginning of the file; found by the fuzzer."""
    end = data.index(b"PK\x05\x06")
    return data[: end + 16] + struct.pack("<I", 2**31 - 1) + data[end + 20 :]


def parquet(table: pa.Table, name: str = "train.parquet") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        pq.write_table(table, folder / name)
        return folder

    return make


def parquet_bomb(folder: Path) -> Path:
    """A text of a quarter of a megabyte, two thousand times."""
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2000, np.int32)), pa.array(["a" * (1 << 18)]))
    pq.write_table(pa.table({"text": texts}), folder / "train.parquet", compression="zstd")
    return folder


def gzip_bomb(folder: Path) -> Path:
    with gzip.open(folder / "train.raw.gz", "wb", compresslevel=1) as packed:
        for _ in range(400):
            packed.write(b"a" * (1 << 20))
    return folder


def arrow_with_wild_offsets(folder: Path) -> Path:
    """A text that would end a gigabyte behind the file, though the last one does not."""
    sink = io.BytesIO()
    table = pa.table({"sentence": ["good", "fine!"], "label": [1, 0]})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data = sink.getvalue().replace(struct.pack("<iii", 0, 4, 9), struct.pack("<iii", 0, 1 << 30, 9))
    (folder / "train.arrow").write_bytes(data)
    return folder


def compressed_of(data: bytes) -> bytes:
    """Bytes packed by gzip, with one bit flipped within."""
    packed = bytearray(gzip.compress(data))
    packed[len(packed) // 2] ^= 0x10
    return bytes(packed)


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "train.txt")
    return folder


TOKENIZER = {"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}}


def tokens(config: object = None, **changes: object) -> Callable[[Path], Path]:
    """Maker of a folder with a tokenizer.json, and a tokenizer_config.json if one is given."""

    def make(folder: Path) -> Path:
        (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER | changes))
        if config is not None:
            (folder / "tokenizer_config.json").write_text(json.dumps(config))
        return folder

    return make


MODEL_CASES = {
    "empty config": Case(model, gpt2({"config.json": b""}), ("config.json", "JSON")),
    "nested deeply": Case(model, gpt2({"config.json": NESTED}), ("config.json", "JSON")),
    "config of a huge number": Case(model, gpt2({"config.json": b'{"n_layer": ' + b"9" * 5000 + b"}"}), ("config.json", "JSON")),
    "config is a device": Case(model, linked("config.json", "/dev/zero", gpt2()), ("config.json", "device")),
    "a billion layers": Case(model, gpt2(n_layer=10**9), ("num_hidden_layers", "1000")),
    "text for layers": Case(model, gpt2(n_layer="$(touch EXECUTED)"), ("n_layer",)),
    "huge width": Case(model, gpt2(n_embd=10**9), ("GPT2LMHeadModel",)),
    "negative width": Case(model, gpt2(n_embd=-16), ("GPT2LMHeadModel",)),
    "code of the author": Case(model, gpt2(auto_map={"AutoModel": "evil.Model"}, model_type="gpt2"), ("auto_map", "refused")),
    "code of the hub": Case(model, gpt2(attn_implementation="evil/kernel"), ("attn_implementation", "fetched")),
    "packed weights": Case(model, gpt2(quantization_config={"quant_method": "mxfp4"}), ("quantization_config", "plain")),
    "classes without end": Case(model, gpt2(num_labels=10**9), ("num_labels", "100000")),
    "index out of the tree": Case(model, gpt2({"model.safetensors": None, "model.safetensors.index.json": index("../../../etc/passwd")}), ("weight_map.transformer.wpe.weight", "refused")),
    "index of a pickle": Case(model, gpt2({"model.safetensors": None, "model.safetensors.index.json": index("pytorch_model.bin")}), ("weight_map", "refused")),
    "weights out of the tree": Case(model, linked("model.safetensors", "/etc/passwd", gpt2()), ("GPT2LMHeadModel", "cannot be loaded")),
    "pickle named like weights": Case(model, lambda folder: gpt2({"model.safetensors": pickle.dumps(Payload(folder))})(folder), ("GPT2LMHeadModel", "cannot be loaded")),
    "huge header": Case(model, gpt2({"model.safetensors": struct.pack("<Q", 2**62)}), ("GPT2LMHeadModel", "cannot be loaded")),
    "nan": Case(model, with_weight(lambda t: t * torch.nan), ("transformer.wpe.weight", "not finite")),
    "infinity": Case(model, with_weight(lambda t: t / 0), ("transformer.wpe.weight", "not finite")),
}  # fmt: skip

LLAMA_CASES = {
    "GGUF, empty": Case(llama, file("model.gguf", b""), ("GGUF", "fetch it again")),
    "GGUF, wrong magic": Case(llama, in_gguf(0, b"FUGG"), ("GGUF", "fetch it again")),
    "GGUF, unknown version": Case(llama, in_gguf(4, struct.pack("<I", 77)), ("GGUF", "fetch it again")),
    "GGUF, tensors without end": Case(llama, in_gguf(8, struct.pack("<Q", 2**63)), ("GGUF", "fetch it again")),
    "GGUF, keys without end": Case(llama, in_gguf(16, struct.pack("<Q", 2**63)), ("GGUF", "fetch it again")),
    "GGUF, key beyond the file": Case(llama, in_gguf(24, struct.pack("<Q", 2**60)), ("GGUF", "fetch it again")),
    "GGUF, tensors missing": Case(llama, gguf_file(), ("model.gguf", "missing")),
    "GGUF, a billion layers": Case(llama, gguf_file(layers=10**9), ("num_hidden_layers", "1000")),
    "GGUF, device": Case(llama, linked("model.gguf", "/dev/zero"), ("GGUF", "device")),
    "llama2.c, empty": Case(llama, file("model.bin", b""), ("model.bin", "header")),
    "llama2.c, two billion layers": Case(llama, llama2c(8, 8, 2**31 - 1, 2, 2, 4, 4), ("model.bin", "num_hidden_layers")),
    "llama2.c, huge width": Case(llama, llama2c(2**31 - 4, 8, 1, 2, 2, 4, 4), ("model.bin", "length")),
    "llama2.c, negative": Case(llama, llama2c(-8, 8, 1, 2, 2, 4, 4), ("model.bin", "header")),
    "llama2.c, odd heads": Case(llama, llama2c(6, 8, 1, 2, 2, 4, 4, body=bytes(4 * 400)), ("model.bin", "header")),
    "llama2.c, nan": Case(llama, not_finite, ("model.bin", "not finite")),
    "llama2.c, pickle": Case(llama, lambda folder: file("model.bin", pickle.dumps(Payload(folder)))(folder), ("model.bin", "header")),
    "llama2.c, device": Case(llama, linked("model.bin", "/dev/zero"), ("model.bin", "device")),
}  # fmt: skip

TOKENIZER_CASES = {
    "empty": Case(tokenizer, file("tokenizer.json", b""), ("tokenizer.json", "JSON")),
    "nested deeply": Case(tokenizer, file("tokenizer.json", NESTED), ("tokenizer.json", "JSON")),
    "device": Case(tokenizer, linked("tokenizer.json", "/dev/zero"), ("tokenizer.json", "device")),
    "number beyond the embedding": Case(tokenizer, tokens(model={"type": "WordLevel", "vocab": {"a": 10**9}, "unk_token": "a"}), ("token a", "1000000000")),
    "number beyond the embedding by little": Case(tokenizer, tokens(model={"type": "WordLevel", "vocab": {"a": 60}, "unk_token": "a"}), ("tokenizer", "a token 60", "60 rows")),
    "negative number": Case(tokenizer, tokens(model={"type": "WordLevel", "vocab": {"a": -1}, "unk_token": "a"}), ("tokenizer.json",)),
    "special token without text": Case(tokenizer, tokens({"pad_token": {"special": True}}), ("tokenizer_config.json", "pad_token")),
    "number for a special token": Case(tokenizer, tokens({"pad_token": [7]}), ("tokenizer_config.json", "pad_token")),
    "settings nested deeply": Case(tokenizer, lambda folder: file("tokenizer_config.json", NESTED)(tokens()(folder)), ("tokenizer_config.json", "JSON")),
    "merges of nothing": Case(tokenizer, lambda folder: file("merges.txt", b"#version\nx y z\n")(file("vocab.json", b'{"a": 0}')(folder)), ("vocab.json and merges.txt",)),
    "tokenizer.bin that goes back": Case(tokenizer, vocabulary((0.0, -8, b"")), ("token 0", "damaged")),
    "tokenizer.bin of a huge token": Case(tokenizer, vocabulary((0.0, 2**31 - 1, b"a")), ("tokens",)),
}  # fmt: skip

PACKAGE_CASES = {
    "cut off": Case(package, changed(lambda folder: zipped(folder / "small.whl", {"data/words.txt": b"some words" * 99}), lambda d: d[:60]), ("small", "data/words.txt")),
    "encrypted": Case(package, encrypted_zip, ("small", "data/words.txt", "encrypted")),
    "zip bomb": Case(package, lambda folder: zip_of_zeros(folder / "small.whl", "data/words.txt", b"", 300 << 20), ("small", "words.txt", "refused")),
    "names out of the tree": Case(package, lambda folder: zipped(folder / "small.whl", {"../../EXECUTED": b"x", "data/words.txt": b"other word"}), ("words.txt", "refused")),
    "tar with a link out of the tree": Case(package, tar(tar_link("data/words.txt", "/etc/passwd")), ("small", "data/words.txt")),
    "tar with a ring of links": Case(package, tar(tar_link("data/words.txt", "b"), tar_link("data/b", "words.txt")), ("small", "data/words.txt")),
    "tar cut off": Case(package, changed(tar(tarfile.TarInfo("x" * 90)), lambda d: d[:40]), ("small", "data/words.txt")),
    "tar with a flipped bit": Case(package, content("small.tgz", compressed_of(bytes(range(256)) * 40)), ("small", "data/words.txt")),
    "zip that begins before itself": Case(package, changed(lambda folder: zipped(folder / "small.whl", {"data/words.txt": b"some words"}), before_itself), ("small", "data/words.txt")),
    "name of a path": Case(lambda name, out: fetch_package(name, out), lambda folder: "../../etc", ("package", "unknown")),
    "folder that is none": Case(source, lambda folder: Source(folder=str(folder / "$(touch EXECUTED)\n")), ("folder", "does not exist")),
}  # fmt: skip

HEAD = b"sentence\tlabel\n"
TEXT_CASES = {
    "GLUE, empty": Case(sentences, file("train.tsv", b""), ("train.tsv",)),
    "GLUE, column twice": Case(sentences, file("train.tsv", b"sentence\tlabel\tlabel\ngood\t1\t0\n"), ("label", "twice")),
    "GLUE, column of Parquet twice": Case(sentences, parquet(pa.table([["a"], [1], [0]], names=["sentence", "label", "label"])), ("label", "twice")),
    "GLUE, huge label": Case(sentences, file("train.tsv", HEAD + b"good\t" + b"9" * 400 + b"\n"), ("label", "row 1")),
    "GLUE, label nan": Case(sentences, file("train.tsv", HEAD + b"good\tnan\n"), ("label", "'nan'")),
    "GLUE, quote without end": Case(sentences, file("train.csv", b'sentence,label\n"good,1\n'), ("train.csv",)),
    "GLUE, Parquet cut off": Case(sentences, lambda folder: _cut(parquet(pa.table({"sentence": ["a"], "label": [1]}))(folder) / "train.parquet"), ("train.parquet", "content")),
    "GLUE, texts beyond the file": Case(sentences, arrow_with_wild_offsets, ("train.arrow", "content")),
    "GLUE, JSON nested deeply": Case(sentences, file("train.jsonl", NESTED), ("train.jsonl", "content")),
    "GLUE, lists for text": Case(sentences, parquet(pa.table({"sentence": [["a"]], "label": [1]})), ("sentence", "no column")),
    "text, gzip bomb": Case(text, gzip_bomb, ("train.raw.gz", "unpacks to more")),
    "text, Parquet bomb": Case(text, parquet_bomb, ("train.parquet", "unpacks to more")),
    "text, flipped bit": Case(text, file("train.raw.gz", compressed_of(b"words and words" * 500)), ("train.raw.gz", "content")),
    "text, gzip cut off": Case(text, file("train.raw.gz", gzip.compress(b"words")[:-6]), ("train.raw.gz", "content")),
    "text, nothing but blanks": Case(text, file("train.txt", b" \n\n \n"), ("train", "holds no text")),
    "text, device": Case(text, linked("train.txt", "/dev/zero"), ("train",)),
    "text, pipe": Case(text, pipe, ("train",)),
    "text, link to nowhere": Case(text, linked("train.txt", "/nowhere"), ("train",)),
    "text, ring of links": Case(text, linked("train.txt", "train.txt"), ("train",)),
}  # fmt: skip


def _cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-30])
    return path.parent


CASES = {
    f"{kind}: {name}": case
    for kind, cases in (
        ("model", MODEL_CASES),
        ("llama", LLAMA_CASES),
        ("tokenizer", TOKENIZER_CASES),
        ("package", PACKAGE_CASES),
        ("text", TEXT_CASES),
    )
    for name, case in cases.items()
}
