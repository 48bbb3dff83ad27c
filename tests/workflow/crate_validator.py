"""The public RO-Crate validator, without network, from the environment that `make test` keeps for it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rocrate import vocabs

HERE = Path(__file__).parent
PYTHON = Path(sys.prefix) / "crate" / "bin" / "python"
PROFILE = "provenance-run-crate"
CONTEXT = "https://w3id.org/ro/crate/1.1/context"

WORDS = """
CreateAction CreativeWork ComputerLanguage Dataset File PropertyValue SoftwareApplication SoftwareSourceCode
about actionStatus additionalType conformsTo contentSize datePublished description encodingFormat endTime
exampleOfWork hasPart identifier instrument license mainEntity mentions name object programmingLanguage
result softwareRequirements softwareVersion startTime url value valueRequired version workExample
"""
"""Words of RO-Crate 1.1 that our crates use. They mean the same in 1.3, which `rocrate` brings along."""

CHANGED = {
    "ComputationalWorkflow": "https://bioschemas.org/ComputationalWorkflow",
    "FormalParameter": "https://bioschemas.org/FormalParameter",
    "input": "https://bioschemas.org/ComputationalWorkflow#input",
    "output": "https://bioschemas.org/ComputationalWorkflow#output",
}
"""Words that RO-Crate 1.3 writes in another way than 1.1."""


def issues(crate, scratch):
    """Requirements of the profile, and of those that it extends, that the crate in a folder does not meet."""
    if not PYTHON.exists():
        pytest.skip("the RO-Crate validator is not installed: make test does it")
    known = vocabs.RO_CRATE["@context"]
    contexts = {CONTEXT: {"@context": {word: known[word] for word in WORDS.split()} | CHANGED}}
    (scratch / "contexts.json").write_text(json.dumps(contexts))
    (scratch / "crate").symlink_to(crate)  # the validator 0.13 does not find its way in folders with a space
    command = [PYTHON, HERE / "validate_offline.py", scratch / "cache", scratch / "contexts.json"]
    command += ["-p", PROFILE, "-f", "json", "-o", scratch / "found.json", scratch / "crate"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert (scratch / "found.json").exists(), done.stdout + done.stderr
    found = json.loads((scratch / "found.json").read_text())
    assert found["passed"] == (not found["issues"])
    return [f"{issue['violatingEntity']}: {issue['message']}" for issue in found["issues"]]
