"""Digests of the code behind a result: a script and all of the library that it imports."""

import ast
import hashlib
import importlib.util
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import grimp

PACKAGE = "softjet"
_END = 1 << 16


@cache
def code_digest(script: str | Path) -> str:
    """SHA-256 over a script and every module of softjet that it imports, directly or not.

    Snakemake sees a script's own change but not that of the modules it imports; this digest,
    handed to a rule as a parameter, makes such a change rerun the rule. Names and contents count,
    times do not, so that a touch or a fresh clone reruns nothing.
    """
    digest = hashlib.sha256(Path(script).read_bytes())
    for module in sorted(_closure(_imports(Path(script)))):
        digest.update(module.encode())
        digest.update(b"".join(_content(path) for path in _files(module)))
    return digest.hexdigest()


def files_behind(script: str | Path) -> set[Path]:
    """Files that :func:`code_digest` is of: the script, modules of the package, and data that they name."""
    modules = _closure(_imports(Path(script)))
    return {Path(script), *(path for module in modules for path in _files(module))}


def text_digest(path: str | Path) -> str:
    """SHA-256 of a text file without its comments and blank lines, as of the lock file."""
    lines = (line.split("#")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return hashlib.sha256("\n".join(line for line in lines if line).encode()).hexdigest()


def fingerprint(path: str | Path) -> str | None:
    """SHA-256 of a file's size and of its first and last 64 KiB; None if there is no such file.

    Formats of large files keep what differs between any two of them there: identifiers, sizes, the index. So
    a thousand files are told from those that take their names later without reading them whole.
    """
    path = Path(path)
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        digest = hashlib.sha256(str(size).encode())
        for start in (0, max(0, size - _END)):
            stream.seek(start)
            digest.update(stream.read(_END))
    return digest.hexdigest()


@cache
def _graph() -> grimp.ImportGraph:
    # No cache folder: a digest must come from the files as they are.
    return grimp.build_graph(PACKAGE, exclude_type_checking_imports=True, cache_dir=None)


def _imports(script: Path) -> set[str]:
    """Modules of the package that a script names in its import statements."""
    named: set[str] = set()
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            named |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
    return named & _graph().modules


def _closure(modules: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for module in modules:
        found |= {module, *_graph().find_upstream_modules(module)}
    # Importing a module runs the packages above it.
    return found | {name.rpartition(".")[0] for name in found if "." in name} | {PACKAGE}


@cache
def _files(module: str) -> tuple[Path, ...]:
    """A module's source, and the data files beside it that it names."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin)
    source = _content(path)
    data = (f for f in sorted(path.parent.iterdir()) if f.is_file() and f.suffix not in {".py", ".pyc"})
    return path, *(f for f in data if f.name.encode() in source)


@cache
def _content(path: Path) -> bytes:
    return path.read_bytes()
