"""Time that Snakemake takes to plan thousands of jobs."""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from softjet.provenance.files import write_tables
from softjet.provenance.job import job

with job(snakemake) as step, tempfile.TemporaryDirectory() as folder:
    base = Path(snakemake.scriptdir).parents[1]
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(base / "Snakefile"), "--dry-run"]
    command += ["--quiet", "rules", "--cores", "1", "--directory", folder]
    command += ["--workflow-profile", str(base / "profiles" / "default"), "--configfile"]
    command += [str(base / "config" / f"{name}.yaml") for name in step.section["configs"]]
    rows = []
    for sample in range(step.section["samples"]):
        start = time.perf_counter()
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        seconds = time.perf_counter() - start
        (jobs, *_) = re.findall(r"^total +(\d+)$", said, re.M)
        rows.append({"sample": sample, "jobs": int(jobs), "seconds": seconds})
    write_tables({snakemake.output.times: pd.DataFrame(rows)})
