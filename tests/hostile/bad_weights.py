"""Bad weights to import, checkpoints, compressed models and saved states."""

import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from cases import Case, Payload, changed, content, zipped
from safetensors.torch import load_file, save_file

from softjet.config.language import Tuning
from softjet.config.lowrank import RankLearning, Selection
from softjet.config.part import ParTModel, Weights
from softjet.language.tuning import tune
from softjet.lowrank.export import load_compressed
from softjet.lowrank.phases import begin
from softjet.lowrank.run import take_up
from softjet.part.checkpoint import load_checkpoints, load_part, save_checkpoints, save_part
from softjet.part.finetune import start_from
from softjet.part.model import ParticleTransformer
from softjet.part.published import import_part
from softjet.part.weaver import export_weaver
from softjet.state import Resumable, save_state

SHAPE = ParTModel(
    features="kin", classes=2, embed_dims=(8, 16), pair_embed_dims=(8,), heads=2, blocks=2, class_blocks=1
)
AGAIN = "train the model again"


def imported(path: Path, out: Path) -> None:
    import_part(path, Weights(name="mine"), SHAPE)


def loaded(path: Path, out: Path) -> None:
    load_part(path)


def kept(path: Path, out: Path) -> None:
    load_checkpoints(path)


def tuned(path: Path, out: Path) -> None:
    start_from(network(), path)


def compressed(path: Path, out: Path) -> None:
    load_compressed(path)


@cache
def network() -> ParticleTransformer:
    torch.manual_seed(1)
    return ParticleTransformer(SHAPE)


def theirs() -> dict[str, torch.Tensor]:
    return {f"mod.{name}": value for name, value in export_weaver(network()).items()}


def pt(change: Callable[[dict], object] | None = None) -> Callable[[Path], Path]:
    """Maker of a file of torch.save with weaver-core's weights after a change, or with what the change gives."""

    def make(folder: Path) -> Path:
        weights = theirs()
        given = change(weights) if change else None
        torch.save(weights if given is None else given, folder / "mine.pt")
        return folder / "mine.pt"

    return make


def holding(name: str, value: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[dict], None]:
    """Change of one weight."""

    def change(weights: dict) -> None:
        weights[name] = value(weights[name])

    return change


def pickled(protocol: int) -> Callable[[Path], Path]:
    """Maker of a pickle of weights, with one that runs a command."""

    def make(folder: Path) -> Path:
        (folder / "mine.pt").write_bytes(pickle.dumps({"fc.0.weight": Payload(folder)}, protocol))
        return folder / "mine.pt"

    return make


def running(folder: Path) -> Path:
    torch.save({"state_dict": theirs(), "optimiser": Payload(folder)}, folder / "mine.pt")
    return folder / "mine.pt"


def deflated(folder: Path) -> Path:
    """Sound weights in compressed records, of which a gigabyte may take a megabyte."""
    with zipfile.ZipFile(pt()(folder)) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    return zipped(folder / "mine.pt", records)


def torchscript(folder: Path) -> Path:
    return zipped(
        folder / "mine.pt", {"mine/constants.pkl": b"\x80\x02).", "mine/code/__torch__.py": b"import os"}
    )


def folder_with(change: Callable[[dict], None] | None = None, **shape: object) -> Callable[[Path], Path]:
    """Maker of the folder of a trained model, with weights changed, and keys of its config.json."""

    def make(folder: Path) -> Path:
        save_part(folder, network())
        if change:
            weights = load_file(folder / "model.safetensors")
            change(weights)
            save_file(weights, folder / "model.safetensors")
        if shape:
            described = json.loads((folder / "config.json").read_text())
            (folder / "config.json").write_text(json.dumps(described | shape))
        return folder

    return make


def with_file(name: str, data: bytes | Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    """Maker of the folder of a trained model with other bytes in one file."""

    def make(folder: Path) -> Path:
        folder_with()(folder)
        path = folder / name
        path.write_bytes(data(path.read_bytes()) if callable(data) else data)
        return folder

    return make


def header(text: bytes) -> bytes:
    """Beginning of a safetensors file."""
    return struct.pack("<Q", len(text)) + text


def out_of_tree(folder: Path) -> Path:
    folder_with()(folder)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("/etc/passwd")
    return folder


def checkpoints(change: Callable[[dict], None]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        save_part(folder, network())
        save_checkpoints(folder, {5: network()})
        weights = load_file(folder / "checkpoints.safetensors")
        change(weights)
        save_file(weights, folder / "checkpoints.safetensors")
        return folder

    return make


def small(**about: object) -> Callable[[Path], Path]:
    """Maker of the folder of a compressed model with this config.json."""

    def make(folder: Path) -> Path:
        described = {"architecture": {"kind": "part", **SHAPE.model_dump(mode="json")}, "ranks": {}} | about
        (folder / "config.json").write_text(json.dumps(described))
        save_file(
            {k: v.contiguous() for k, v in network().state_dict().items()}, folder / "model.safetensors"
        )
        return folder

    return make


def rank_of(rank: object) -> dict:
    return {"head": {"in": 16, "pieces": [{"outputs": 2, "rank": rank}]}}


def rank_run(path: Path, out: Path) -> None:
    """A run of rank learning takes the state up."""
    block = torch.nn.ModuleDict({"layer": torch.nn.Linear(32, 32)})
    model = torch.nn.ModuleDict({"blocks": torch.nn.ModuleList([block])})
    selection = Selection(matrices=({"path": "blocks.*.layer"},), blocks=("blocks",))
    take_up(begin(model, selection, RankLearning(rank_floor=1)), path)


class Training(Resumable):
    """A training of one layer."""

    def __init__(self) -> None:
        self.model = torch.nn.Linear(2, 2)
        self.optimiser = torch.optim.AdamW(self.model.parameters())
        self.rows = np.zeros((10, 3))


def resumed(path: Path, out: Path) -> None:
    Training().load(path)


def language(path: Path, out: Path) -> None:
    tune(torch.nn.Linear(2, 2), SimpleNamespace(training=None), Tuning(), path.parent)


def state(change: Callable[[dict], object], name: str = "state.pt") -> Callable[[Path], Path]:
    """Maker of a saved state of `Training` after a change, or what the change gives."""

    def make(folder: Path) -> Path:
        training = Training()
        training.save(folder / name)
        saved = torch.load(folder / name, weights_only=True)
        given = change(saved)
        save_state(folder / name, saved if given is None else given)
        return folder / name

    return make


def running_state(folder: Path) -> Path:
    torch.save({"model": Payload(folder)}, folder / "state.pt")
    return folder / "state.pt"


def of_tuning(**content: object) -> Callable[[Path], Path]:
    return state(
        lambda _: {"settings": Tuning().model_dump_json(exclude={"save_every"}), **content}, "tuning.pt"
    )


NESTED = b"[" * 100_000 + b"]" * 100_000

PT_CASES = {
    "empty": Case(imported, content("mine.pt", b""), ("file", "fetch it again")),
    "pickle that runs": Case(imported, pickled(2), ("pickle", "nothing of it was executed")),
    "pickle of another protocol that runs": Case(imported, pickled(5), ("nothing of it was executed",)),
    "checkpoint that runs": Case(imported, running, ("pickle", "nothing of it was executed")),
    "compressed records": Case(imported, deflated, ("compressed", "fetch it again")),
    "program of TorchScript": Case(imported, torchscript, ("constants.pkl",)),
    "bit flipped in the directory": Case(imported, changed(pt(), lambda d: d.replace(b"PK\x01\x02", b"PK\x01\x03", 1)), ("file",)),
    "no dict": Case(imported, pt(lambda w: [1, 2]), ("content", "named tensors")),
    "numbers for names": Case(imported, pt(lambda w: {1: torch.zeros(2)}), ("content", "named tensors")),
    "text for a tensor": Case(imported, pt(lambda w: w.update({"mod.cls_token": "x"})), ("content", "named tensors")),
    "nan": Case(imported, pt(holding("mod.fc.0.bias", lambda t: t * torch.nan)), ("fc.0.bias", "not finite")),
    "infinity": Case(imported, pt(holding("mod.cls_token", lambda t: t / 0)), ("cls_token", "not finite")),
    "complex numbers": Case(imported, pt(holding("mod.cls_token", lambda t: t + 1j)), ("cls_token", "complex64")),
    "whole numbers": Case(imported, pt(holding("mod.fc.0.weight", lambda t: t.long())), ("fc.0.weight", "int64")),
    "scalar": Case(imported, pt(holding("mod.blocks.0.w_resid", lambda t: t[0])), ("blocks.0.w_resid", "missing")),
    "sparse": Case(imported, pt(holding("mod.fc.0.weight", lambda t: t.to_sparse())), ("fc.0.weight",)),
    "shape beyond its numbers": Case(imported, pt(holding("mod.fc.0.weight", lambda t: t[:1, :1].expand(10**9, 16))), ("fc.0.weight",)),
    "width of zero": Case(imported, pt(holding("mod.blocks.0.w_resid", lambda t: t[:0])), ("blocks.0", "width")),
    "huge number in a name": Case(imported, pt(lambda w: w.update({f"mod.embed.embed.{'9' * 5000}.weight": torch.zeros(2, 2)})), ("embed.embed.999", "no known weight")),
    "name of many lines": Case(imported, pt(lambda w: w.update({"x\n\x1b[2J$(touch EXECUTED)": torch.zeros(1)})), ("no known weight",)),
    "name of a hundred thousand letters": Case(imported, pt(lambda w: w.update({"x" * 100_000: torch.zeros(1)})), ("xxx ... xxx", "no known weight")),
    "link out of the tree": Case(imported, lambda folder: _link(folder / "mine.pt", "/etc/passwd"), ("file", "fetch it again")),
    "link to a device": Case(imported, lambda folder: _link(folder / "mine.pt", "/dev/zero"), ("file",)),
    "folder": Case(imported, lambda folder: folder, ("file",)),
}  # fmt: skip


def _link(path: Path, target: str) -> Path:
    path.symlink_to(target)
    return path


FOLDER_CASES = {
    "empty weights": Case(loaded, with_file("model.safetensors", b""), ("model.safetensors", AGAIN)),
    "huge header": Case(loaded, with_file("model.safetensors", struct.pack("<Q", 2**63)), ("model.safetensors", AGAIN)),
    "header that is no JSON": Case(loaded, with_file("model.safetensors", header(b"{" * 64)), ("model.safetensors", AGAIN)),
    "header nested deeply": Case(loaded, with_file("model.safetensors", header(NESTED)), ("model.safetensors", AGAIN)),
    "tensor beyond the file": Case(loaded, with_file("model.safetensors", header(b'{"w":{"dtype":"F32","shape":[99999999999],"data_offsets":[0,399999999996]}}')), ("model.safetensors", AGAIN)),
    "shape that wraps to zero": Case(loaded, with_file("model.safetensors", header(b'{"w":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}')), ("model.safetensors",)),
    "pickle named like weights": Case(loaded, lambda folder: with_file("model.safetensors", pickle.dumps(Payload(folder)))(folder), ("model.safetensors", AGAIN)),
    "nan": Case(loaded, folder_with(holding("head.bias", lambda t: t * torch.nan)), ("head.bias", "not finite")),
    "whole numbers": Case(loaded, folder_with(holding("head.bias", lambda t: t.long())), ("head.bias", "int64")),
    "link out of the tree": Case(loaded, out_of_tree, ("model.safetensors", AGAIN)),
    "shape nested deeply": Case(loaded, with_file("config.json", NESTED), ("config.json", AGAIN)),
    "shape that is no text": Case(loaded, with_file("config.json", b"\xff\xfe\x00"), ("config.json", AGAIN)),
    "key twice": Case(loaded, with_file("config.json", lambda d: d.replace(b'"heads": 2', b'"heads": 2, "heads": 8')), ("pair_embed", "shape")),
    "a billion blocks": Case(loaded, folder_with(blocks=10**9), ("config.json: blocks",)),
    "a billion classes": Case(loaded, folder_with(classes=10**9), ("config.json: classes",)),
    "huge width": Case(loaded, folder_with(embed_dims=[8, 10**30]), ("config.json: embed_dims",)),
    "wide": Case(loaded, folder_with(embed_dims=[16384, 16384, 16384, 16384, 16]), ("embed.layers", "config.json")),
    "negative width": Case(loaded, folder_with(embed_dims=[-8, 16]), ("config.json: embed_dims",)),
    "heads that do not divide": Case(loaded, folder_with(heads=3), ("config.json", "heads")),
    "infinite dropout": Case(loaded, folder_with(dropout=float("inf")), ("config.json: dropout",)),
    "start from a pickle": Case(tuned, lambda folder: with_file("model.safetensors", pickle.dumps(Payload(folder)))(folder), ("model.safetensors",)),
    "checkpoint of another shape": Case(kept, checkpoints(holding("5:head.bias", lambda t: t[:1].clone())), ("head.bias", "shape")),
    "checkpoint of a huge step": Case(kept, checkpoints(lambda w: w.update({f"{'9' * 5000}:head.bias": torch.zeros(2)})), ("checkpoints.safetensors", "step")),
}  # fmt: skip

COMPRESSED_CASES = {
    "nested deeply": Case(compressed, lambda folder: _write(folder, NESTED), ("config.json",)),
    "code for a kind": Case(compressed, small(architecture={"kind": "os:system", "command": "touch EXECUTED"}), ("architecture.kind", "not known")),
    "a billion blocks": Case(compressed, small(architecture={"kind": "part", "blocks": 10**9}), ("architecture", "blocks")),
    "a billion layers": Case(compressed, small(architecture={"kind": "transformers", "class": "GPT2LMHeadModel", "config": {"n_layer": 10**9}}), ("num_hidden_layers", "1000")),
    "class with code": Case(compressed, small(architecture={"kind": "transformers", "class": "pipeline", "config": {}}), ("class", "pipeline")),
    "huge rank": Case(compressed, small(ranks=rank_of(10**9)), ("head", "rank")),
    "negative rank": Case(compressed, small(ranks=rank_of(-1)), ("head", "rank")),
    "text for a rank": Case(compressed, small(ranks=rank_of("1; rm -rf x")), ("head",)),
    "path of code": Case(compressed, small(ranks={"__class__.__init__": rank_of(1)["head"]}), ("__class__",)),
    "layer in the mill": Case(compressed, small(ranks={"": rank_of(1)["head"]}), ("config.json",)),
    "ranks for ranks": Case(compressed, small(ranks=[1, 2]), ("ranks",)),
}  # fmt: skip


def _write(folder: Path, data: bytes) -> Path:
    (folder / "config.json").write_bytes(data)
    return folder


STATE_CASES = {
    "empty": Case(resumed, content("state.pt", b""), ("state.pt", "remove it")),
    "pickle that runs": Case(resumed, running_state, ("state.pt", "remove it")),
    "cut off": Case(resumed, changed(state(lambda s: None), lambda d: d[: len(d) // 2]), ("state.pt", "remove it")),
    "no dict": Case(resumed, lambda folder: _list_state(folder), ("state.pt", "remove it")),
    "part missing": Case(resumed, state(lambda s: s.pop("optimiser") and None), ("state.pt", "optimiser", "remove it")),
    "weights of another shape": Case(resumed, state(lambda s: s["model"].update(weight=torch.zeros(3, 3))), ("state.pt", "remove it")),
    "step beyond the history": Case(resumed, state(lambda s: s.update(step=10**12)), ("state.pt", "remove it")),
    "text for a step": Case(resumed, state(lambda s: s.update(step="7")), ("state.pt", "remove it")),
    "language, part missing": Case(language, of_tuning(history=[]), ("tuning.pt", "model", "remove it")),
    "language, list": Case(language, of_tuning(history=7, model=[], optimiser=[], random=[]), ("tuning.pt", "remove it")),
    "ranks, other parts": Case(rank_run, state(lambda s: None), ("state.pt", "identity", "remove it")),
}  # fmt: skip


def _list_state(folder: Path) -> Path:
    torch.save([1, 2], folder / "state.pt")
    return folder / "state.pt"


CASES = {
    f"{kind}: {name}": case
    for kind, cases in (
        ("weights", PT_CASES),
        ("folder", FOLDER_CASES),
        ("compressed", COMPRESSED_CASES),
        ("state", STATE_CASES),
    )
    for name, case in cases.items()
}
