"""A run of four jobs as the workflow leaves it: from a user's file and a temporary one to a report."""

from pathlib import Path
from types import SimpleNamespace

from softjet.provenance.job import job
from softjet.provenance.sidecar import sidecar_path

STEPS = {
    "simulate": ([], ["resources/simulated.root"]),
    "convert": (["mine.h5", "resources/simulated.root"], ["results/jets/train.parquet"]),
    "draw": (["results/jets/train.parquet"], ["results/figures/a b.png", "results/figures/a b.pdf"]),
    "report": (["results/figures/a b.png"], ["results/report.html"]),
}


def write_step(rule, section=None):
    inputs, outputs = STEPS[rule]
    about = SimpleNamespace(
        rule=rule,
        input=inputs,
        output=[*outputs, *(str(sidecar_path(path)) for path in outputs)],
        params=SimpleNamespace(spec={"section": section or {"seed": 3}, "code": "c", "environment": "e"}),
        log=[],
        threads=1,
        config={"paths": {"state": ".state"}},
    )
    with job(about):
        for path in map(Path, outputs):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{rule} {path.name}")


def write_run():
    """Write the run into the working directory."""
    Path("mine.h5").write_text("jets")
    for rule in STEPS:
        write_step(rule)
    Path("resources/simulated.root").unlink()
    Path("results/README.md").write_text("What the workflow makes.")
