"""Digests of the code behind a result: a script and all of the library that it imports."""

import ast
import hashlib
import importlib.util
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import grimp

PACKAGE = "softjet"
ROOT = Path(__file__).resolve().parents[1]


def code_digest(script: str | Path) -> str:
    """SHA-256 over a script and every module of softjet that it imports, directly or not.

    Snakemake sees a script's own change but not that of the modules it imports; this digest,
    handed to a rule as a parameter, makes such a change rerun the rule. Names and contents count,
    times do not, so that a touch or a fresh clone reruns nothing.
    """
    script = Path(script)
    digest = hashlib.sha256(script.read_bytes())
    for module in sorted(_closure(_imports(script))):
        digest.update(module.encode())
        digest.update(_content(module))
    return digest.hexdigest()


def text_digest(path: str | Path) -> str:
    """SHA-256 of a text file without its comments and blank lines, as of the lock file."""
    lines = (line.split("#")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return hashlib.sha256("\n".join(line for line in lines if line).encode()).hexdigest()


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


def _content(module: str) -> bytes:
    """A module's source and the data files beside it that it names."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin)
    source = path.read_bytes()
    data = (f for f in sorted(path.parent.iterdir()) if f.is_file() and f.suffix not in {".py", ".pyc"})
    return source + b"".join(f.read_bytes() for f in data if f.name.encode() in source)
