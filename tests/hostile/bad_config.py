"""Bad configurations: YAML that is too much, and values that no step could use."""

from collections.abc import Callable
from pathlib import Path

from cases import Case, content

from softjet.config.load import load_config


def read(path: Path, out: Path) -> None:
    load_config(path)


def yaml(text: str | bytes) -> Callable[[Path], Path]:
    return content("mine.yaml", text if isinstance(text, bytes) else text.encode())


def link(target: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "mine.yaml").symlink_to(target)
        return folder / "mine.yaml"

    return make


def named(name: str) -> Callable[[Path], Path]:
    """Maker of a configuration with a dataset of this name."""
    return yaml(f"datasets: {{{name}: {{}}}}")


LAUGHS = "a0: &a0 [lol, lol]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 13)
)
"""A million million values in thirteen lines."""

DICTS = "x0: &x0 {a: 1, b: 2}\n" + "".join(
    f"x{n}: &x{n} {{a: *x{n - 1}, b: *x{n - 1}}}\n" for n in range(1, 60)
)
TRAINING = "part: {reference: {training: {%s}}}"
MODEL = "part: {reference: {model: {%s}}}"
SOURCE = "tasks: {mine: {source: {%s}}}"
NAME = "begin with a letter or digit"

YAML_CASES = {
    "nested deeply": Case(read, yaml("a: " + "[" * 5000 + "]" * 5000), ("mine.yaml: file", "not YAML")),
    "nested too deeply": Case(read, yaml("a: " + "[" * 50 + "]" * 50), ("nested in more than 20 levels",)),
    "bomb of aliases": Case(read, yaml(LAUGHS), ("holds more than 100000 values",)),
    "bomb of aliases as a value": Case(read, yaml(LAUGHS + "paths: {results: *a12}"), ("paths.results", "holds more than 100000 values")),
    "bomb of aliases of mappings": Case(read, yaml(DICTS), ("nested in more than 20 levels",)),
    "ring of aliases": Case(read, yaml("paths: &p {results: *p}"), ("paths",)),
    "code": Case(read, yaml("paths: !!python/object/apply:os.mkdir [EXECUTED]"), ("file", "not YAML")),
    "code of another tag": Case(read, yaml("paths: {results: !!python/name:os.system x}"), ("file", "not YAML")),
    "bytes": Case(read, yaml("paths: {results: !!binary aGVsbG8=}"), ("paths.results", "is a bytes")),
    "date": Case(read, yaml("paths: {results: 2020-01-01}"), ("paths.results", "is a date")),
    "set": Case(read, yaml("datasets: !!set {a, b}"), ("datasets", "is a set")),
    "number for a key": Case(read, yaml("datasets: {1: {}}"), ("datasets", "the key 1", "not text")),
    "list for a key": Case(read, yaml("datasets: {[1, 2]: {}}"), ("datasets",)),
    "null byte": Case(read, yaml('paths: {results: "a\\0b"}'), ("paths.results", "do not print")),
    "line end in a path": Case(read, yaml('paths: {results: "a\\nb"}'), ("paths.results", "do not print")),
    "escape sequence in a path": Case(read, yaml('paths: {results: "\\e[31mred"}'), ("paths.results", "do not print")),
    "long text": Case(read, yaml(f"paths: {{results: {'a' * 10_000}}}"), ("paths.results", "4096")),
    "number of ten thousand digits": Case(read, yaml(f"latency: {{seed: {'9' * 10_000}}}"), ("file", "not YAML")),
    "other encoding": Case(read, yaml(b"\xff\xfe\xfa\x00a"), ("file", "not YAML")),
    "device": Case(read, link("/dev/zero"), ("file", "device")),
    "folder": Case(read, lambda folder: folder, ("file", "folder")),
    "another file": Case(read, link("/etc/passwd"), ("mine.yaml",)),
}  # fmt: skip

VALUE_CASES = {
    "infinite rate": Case(read, yaml(TRAINING % "learning_rate: .inf"), ("part.reference.training.learning_rate", "finite")),
    "rate that is no number": Case(read, yaml(TRAINING % "learning_rate: .nan"), ("part.reference.training.learning_rate", "finite")),
    "huge seed": Case(read, yaml(TRAINING % f"seed: {10**30}"), ("part.reference.training.seed", "2^53")),
    "huge number of steps": Case(read, yaml(TRAINING % f"steps: {10**12}"), ("part.reference.training.steps", "10000000")),
    "huge number of epochs": Case(read, yaml(TRAINING % "epochs: 1.0e+12"), ("part.reference.training.epochs", "10000")),
    "files without end": Case(read, yaml("datasets: {simulated: {files_per_split: 1000000000}}"), ("datasets.simulated.files_per_split", "10000")),
    "a keep ratio that no run could be named by": Case(read, yaml("compress: {part: {grids: [{keeps: [0.00005]}]}}"), ("compress.part.grids.0.keeps.0", "0.001")),
    "nothing that compresses": Case(read, yaml("compress: {part: {grids: [{methods: [dense]}]}}"), ("compress.part", "no method compresses")),
    "runs without end": Case(read, yaml(f"compress: {{part: {{grids: [{{keeps: {[0.5] * 200}, seeds: {list(range(200))}}}]}}}}"), ("compress.part", "80000 runs")),
    "no width": Case(read, yaml(MODEL % "embed_dims: []"), ("part.reference.model.embed_dims",)),
    "negative width": Case(read, yaml(MODEL % "embed_dims: [-1, 16]"), ("part.reference.model.embed_dims.0", "-1")),
    "huge width": Case(read, yaml(MODEL % "embed_dims: [1000000000]"), ("part.reference.model.embed_dims.0", "16384")),
    "heads that do not divide": Case(read, yaml(MODEL % "heads: 7"), ("part.reference.model", "7 heads do not divide the width 128")),
    "name out of the tree": Case(read, named('"../../tmp/evil"'), ("datasets", "'../../tmp/evil'", NAME)),
    "absolute name": Case(read, named("/tmp/evil"), ("'/tmp/evil'", NAME)),
    "name of a command": Case(read, named('"$(touch EXECUTED)"'), ("$(touch EXECUTED)", NAME)),
    "name with a space": Case(read, named('"a b"'), ("'a b'", NAME)),
    "name with a quote": Case(read, named("\"a'b\""), (NAME,)),
    "name with a wildcard": Case(read, named('"{split}"'), ("'{split}'", NAME)),
    "name of an option": Case(read, named('"--help"'), ("'--help'", NAME)),
    "hidden name": Case(read, named('".hidden"'), ("'.hidden'", NAME)),
    "empty name": Case(read, named('""'), ("''", NAME)),
    "long name": Case(read, named("a" * 300), (NAME,)),
    "name with a line end": Case(read, named('"a\\nb"'), ("datasets", "do not print")),
    "run named by a path": Case(read, yaml('part: {"../x": {}}'), ("part", "'../x'", NAME)),
    "task named by a path": Case(read, yaml('tasks: {"a/b": {source: {folder: x}}}'), ("tasks", "'a/b'", NAME)),
    "results in a wildcard": Case(read, yaml('paths: {results: "{x}"}'), ("paths.results", "'{x}'")),
    "folder of a path variable": Case(read, yaml(SOURCE % 'folder: "<results>/x"'), ("tasks.mine.source.folder",)),
    "weights named by a path": Case(read, yaml('part: {reference: {weights: {name: "../../x"}}}'), ("part.reference.weights.name",)),
    "package named by a path": Case(read, yaml(SOURCE % 'package: "../../x"'), ("tasks.mine.source.package",)),
    "revision that is no commit": Case(read, yaml(SOURCE % "hub: a/b, revision: main"), ("tasks.mine.source.revision",)),
    "hub named by a path": Case(read, yaml(SOURCE % f'hub: "../../x", revision: {"0" * 40}'), ("tasks.mine.source.hub",)),
}  # fmt: skip

CASES = {
    f"{kind}: {name}": case
    for kind, cases in (("YAML", YAML_CASES), ("value", VALUE_CASES))
    for name, case in cases.items()
}
