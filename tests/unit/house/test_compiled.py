"""Compiled functions and numba's cache."""

import ast
from pathlib import Path

import softjet

ROOT = Path(softjet.__file__).parent


def compiling_modules():
    files = [path for path in ROOT.rglob("*.py") if "@njit(cache=True" in path.read_text()]
    return {".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path for path in files}


def test_no_compiled_function_calls_one_of_another_file():
    """The cache of the caller would not see a change of the called."""
    modules = compiling_modules()
    assert "softjet.jets.kernels" in modules
    for name, path in modules.items():
        imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        assert not [node.module for node in imports if node.module in modules and node.module != name], name
