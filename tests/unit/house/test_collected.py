"""`make test` runs every folder of tests but the one that needs a Slurm."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_no_folder_of_tests_is_forgotten():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    folders = {
        f"tests/{path.relative_to(ROOT / 'tests').parts[0]}" for path in ROOT.glob("tests/*/**/test_*.py")
    }
    assert set(settings["testpaths"]) == folders - {"tests/slurm"}
