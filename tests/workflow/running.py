"""Start the workflow as a user does, or ask what it would do."""

import contextlib
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SMALL = ROOT / "config" / "test" / "small.yaml"
HOOKS = Path(__file__).with_name("hooks")
CODE = ("Snakefile", "rules", "workflow", "src", "envs", "profiles", "config", "requirements.txt")

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["snakemake.cli", "grimp", "pydantic", "yaml"])


def arguments(folder, *more, config=SMALL, root=ROOT):
    """Command line of the workflow of a checkout, for results in `folder`."""
    options = ["--snakefile", root / "Snakefile", "--configfile", root / "config" / "config.yaml", config]
    options += ["--workflow-profile", root / "profiles" / "default", "--directory", folder, "--cores", "2"]
    return [str(option) for option in (*options, *more)]


def environment(root=ROOT, **more):
    """Variables with which the jobs find this Python, the checkout's library and the hooks of tests."""
    folders = [str(HOOKS), str(root / "src"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": ":".join(folders),
        **more,
    }


def start(folder, *more, config=SMALL, root=ROOT, **variables):
    """A workflow under way, at the head of a process group of its own, and the file of what it says."""
    command = [str(Path(sys.executable).with_name("snakemake"))]
    command += arguments(folder, *more, config=config, root=root)
    said = tempfile.TemporaryFile("w+")  # noqa: SIM115 (no pipe: jobs that outlive their workflow would hold it)
    process = subprocess.Popen(
        command,
        env=environment(root, **variables),
        stdout=said,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    return process, said


def ended(process, said):
    """Exit status of a workflow, once it has one, and what it said."""
    status = process.wait(900)
    said.seek(0)
    return status, said.read()


def snakemake(folder, *more, config=SMALL, root=ROOT, **variables):
    """Run the workflow to its end."""
    command = [str(Path(sys.executable).with_name("snakemake"))]
    command += arguments(folder, *more, config=config, root=root)
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=900,
        env=environment(root, **variables),
        start_new_session="HARM" in variables,  # where one job may kill all of its group
    )


def artefacts(folder):
    """All results but their sidecars."""
    results = folder / "results"
    return [p for p in sorted(results.rglob("*")) if p.is_file() and not p.name.endswith(".meta.json")]


def clone(folder, copy=shutil.copyfile, without=("__pycache__",)):
    """A checkout of its own; as it is left to itself, with new times and nothing compiled."""
    folder.mkdir(exist_ok=True)
    for name in CODE:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns(*without)
            shutil.copytree(ROOT / name, folder / name, copy_function=copy, ignore=ignored)
        else:
            copy(ROOT / name, folder / name)
    return folder


@dataclass
class Plan:
    """What a dry run says.

    Attributes
    ----------
    jobs : dict
        How often each rule would run.
    reasons : dict
        Rules by the reason why they would.
    said : str
        All of it.
    """

    jobs: dict[str, int]
    reasons: dict[str, set[str]]
    said: str

    @property
    def rules(self):
        """Rules that would run."""
        return set(self.jobs) - {"all"}

    @property
    def changed(self):
        """Rules whose parameters, code or environment are others."""
        return self.reasons.get("params have changed since last execution", set())


def plan(folder, *more, config=SMALL, root=ROOT, **variables):
    """Dry run, in a process that has Snakemake imported already."""
    given = arguments(folder, "--dry-run", *more, config=config, root=root)
    receiving, sending = multiprocessing.Pipe(duplex=False)
    process = _forks.Process(target=_dry_run, args=(given, str(root / "src"), variables, sending))
    process.start()
    sending.close()
    said = receiving.recv()
    process.join()
    return _understood(said)


def changed(folder, **how):
    """Rules of finished results whose parameters, code or environment are others now."""
    said = plan(folder, "--list-changes", "params", **how).said
    assert "Building DAG of jobs" in said, said
    assert "rror" not in said, said
    sidecars = [folder / f"{line}.meta.json" for line in said.splitlines()]
    # Snakemake lists all files of a job that has changed, and of every other one the last: a sidecar.
    return {json.loads(path.read_text())["rule"] for path in sidecars if path.is_file()}


def _dry_run(given, source, variables, sending):
    os.environ.update(variables)
    sys.path.insert(0, source)
    with open(os.memfd_create("said"), "w+") as stream:  # noqa: PTH123
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        from snakemake.cli import main

        with contextlib.suppress(SystemExit):
            main(given)
        sys.stdout.flush()
        sys.stderr.flush()
        stream.seek(0)
        sending.send(stream.read())


def _understood(said):
    table = said.rpartition("Job stats:")[2].partition("total")[0] if "Job stats:" in said else ""
    jobs = {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", table, re.M)}
    listed = re.findall(r"^    ([a-z].*):\n        (.*)$", said.rpartition("\nReasons:")[2], re.M)
    return Plan(jobs, {reason: set(rules.split(", ")) for reason, rules in listed}, said)
