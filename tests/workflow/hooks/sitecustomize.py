"""Imported by every Python of a workflow under test: notes what jobs open and import, harms them where asked.

TRACE names a folder: every job leaves a file there, with the modules of softjet that it had imported and the
files that it had opened by its end. HARM is JSON: `marks`, a folder where each rule harmed is noted, so that
it is harmed once; `rules`, by their names what happens to them, and at which file that they write, from 1:

- "kill": SIGKILL to the job, half of the file written
- "kill all": the same, to the workflow and all of its jobs
- "orphan": SIGKILL to the workflow alone; the job goes on when there is a file `go` in `marks`
- "starve": no memory beyond what the job has at its start
"""

import atexit
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path


def job():
    """What Snakemake gives a script; None in any other Python."""
    return getattr(sys.modules["__main__"], "snakemake", None)


def trace(folder):
    opened, of_python = set(), (sys.prefix, sys.base_prefix)

    def note(event, given):
        if event == "open" and isinstance(given[0], str) and not given[0].startswith(of_python):
            opened.add(given[0])

    def leave():
        if job() is not None:
            modules = [name for name in sys.modules if name.split(".")[0] == "softjet"]
            files = [*job().input, *job().output, *job().log]
            script = Path(sys.argv[0]).name.partition(".")[2]
            said = {"script": script, "modules": modules, "opened": list(opened)}
            said["files"] = list(map(str, files))
            Path(folder, f"{job().rule}-{os.getpid()}.json").write_text(json.dumps(said))

    sys.addaudithook(note)
    atexit.register(leave)


def harm(marks, rules):
    written, striking = 0, False

    def watch(event, given):
        nonlocal written, striking
        if striking or event not in ("open", "os.rename") or job() is None or job().rule not in rules:
            return
        how, count = rules[job().rule]
        begins = event == "open" and str(given[0]).endswith(".log")
        written += begins if how == "starve" else event == "os.rename"
        mark = Path(marks, job().rule)
        if written == count and not mark.exists():
            striking = True  # what this does itself is seen here too
            mark.touch()
            strike(how, given, Path(marks, "go"))

    sys.addaudithook(watch)


def strike(how, given, go):
    if how == "starve":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**20,) * 2)
        return
    if how == "orphan":
        os.kill(os.getpgid(0), signal.SIGKILL)
        end = time.monotonic() + 300
        while not go.exists() and time.monotonic() < end:
            time.sleep(0.05)
        return
    if Path(given[0]).is_file():
        os.truncate(given[0], Path(given[0]).stat().st_size // 2)
    if how == "kill all":
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


if "TRACE" in os.environ:
    trace(os.environ["TRACE"])
if "HARM" in os.environ:
    harm(**json.loads(os.environ["HARM"]))
