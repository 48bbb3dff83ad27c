import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]
LOCK = dict(re.findall(r"^([\w.\-]+)==(\S+)", (ROOT / "requirements.txt").read_text(), re.M))
WANTED = [
    re.split(r"[=\[<>]", line)[0].lower() for line in (ROOT / "requirements.in").read_text().split("\n")
]
WANTED = [name for name in WANTED if name and not name.startswith("#")]

RUNNING = set(WANTED[: WANTED.index("pytest")]) - {"hatchling", "editables"}
"""What the workflow needs when it runs; what comes from pytest on is for tests and benchmarks."""


def test_every_dependency_is_pinned_and_explained():
    explained = re.findall(r"^\| ([\w\-]+) \| \S", (ROOT / "docs" / "dependencies.md").read_text(), re.M)
    assert {name.lower() for name in explained} - {"package"} == set(WANTED)
    assert set(WANTED) <= set(LOCK)


def test_lock_names_no_index_and_no_build_of_torch():
    text = re.sub(r"#.*", "", (ROOT / "requirements.txt").read_text())
    assert not re.search(r"https?://|--index|--find-links|file:", text)
    assert "+" not in LOCK["torch"]


def test_conda_environment_has_the_pins_of_the_lock():
    for path in (ROOT / "envs").glob("*.yaml"):
        packages = yaml.safe_load(path.read_text())["dependencies"][-1]["pip"]
        pins = dict(package.split("==") for package in packages)
        assert pins == {name: LOCK[name] for name in RUNNING}, path.name
