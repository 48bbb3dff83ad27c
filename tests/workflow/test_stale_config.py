"""Every value of the small configuration, changed: which rules have other parameters. By dry runs."""

import re

import pytest
import yaml
from leaves import at, leaves, merged, other, replaced
from running import ROOT, SMALL, changed, plan

pytestmark = pytest.mark.workflow

WHOLE_RUN = {"train_part", "initialise_part", "evaluate_part"}
LEARNING = {"learn_ranks_part", "statistics_compressed"}
RULES = {
    "datasets.simulated": {"convert_simulated"},
    "datasets.simulated.files": set(),
    "datasets.simulated.simulation": {"simulate"},
    "datasets.simulated.simulation.seed": {"simulate", "simulate_test"},
    "datasets.simulated.simulation.shards": {"simulate", "simulate_test"},
    "datasets.simulated.further_test": {"simulate_test"},
    "part.reference": WHOLE_RUN,
    "part.reference.training.batch_size": WHOLE_RUN | {"draw_training", "draw_growth"},
    "attention": {"record_attention", "statistics_attention", "statistics_growth", "draw_explorer"},
    "observables": {"statistics_observables"},
    "interventions": {"statistics_interventions"},
    "topk": {"statistics_topk", "tune_topk"},
    **{f"topk.{key}": {"statistics_topk"} for key in ("keep", "jets", "background", "tuned", "samples")},
    "compress.part": LEARNING,
    "compress.part.learning.device": LEARNING | {"evaluate_compressed_part"},
    "compress.part.learning.precision": LEARNING | {"evaluate_compressed_part"},
    "compress.part.learning.batch_size": LEARNING,
    "compress.part.learning.of": LEARNING | {"compare_methods_part", "draw_methods", "draw_compression"},
    "joined": {"statistics_compressed"},
    "latency": {"measure_latency_part"},
    "latency.language_batches": set(),
    "latency.rows": set(),
    "latency.precision": set(),
}
"""Rules whose parameters change with a value, by the longest beginning of its path that stands here."""
TOLD = ("datasets", "part", "compress", "comparisons", "attention")
"""Sections that the report tells of."""
CRATE = {"write_crate"}
"""The research object holds all of the configuration."""
NAMES = {
    "datasets.simulated.source": "another source has other files: test_stale_input.py",
    "datasets.simulated.reference": "a file that must be there: test_stale_input.py",
    **dict.fromkeys(
        [f"datasets.simulated.splits.{split}" for split in ("train", "validation", "test")],
        "files, which a simulated dataset has none of",
    ),
    "part.reference.dataset": "another dataset: test_stale_nothing.py adds models",
    "part.reference.start_from": "another run, or a folder: test_stale_input.py",
    "part.reference.weights": "another rule: test_import.py",
    "part.reference.training.sync_batchnorm": "for several GPUs",
    "comparisons": "two runs",
    "compress.part.base": "another run",
    "compress.part.grids": "each of its runs is a result of its own",
    "compress.part.learning.embeddings": "Particle Transformer has no tables",
    "compress.part.learning.imitation": "not for Particle Transformer",
}
"""Values that name something else, and why no other is tried."""


def expected(path):
    beginnings = [".".join(path[:n]) for n in range(len(path), 0, -1)]
    return next(RULES[b] for b in beginnings if b in RULES)


def batches():
    """Values in as few batches as there can be without a rule being asked about twice in one."""
    values, found = merged(SMALL), []
    for path in leaves(values):
        if path[0] == "paths" or ".".join(path) in NAMES:
            continue
        place = next((b for b in found if all(expected(path).isdisjoint(expected(p)) for p in b)), None)
        if place is None:
            found.append([path])
        else:
            place.append(path)
    return found


@pytest.fixture
def asked(tmp_path, finished):
    """Function from a configuration to the rules with other parameters."""

    def ask(values, what=changed):
        path = tmp_path / "changed.yaml"
        path.write_text(yaml.safe_dump(values))
        return what(finished, config=path)

    return ask


@pytest.mark.parametrize("paths", batches(), ids=lambda paths: ".".join(paths[0]))
def test_every_value_is_a_parameter_of_the_rules_that_use_it_and_of_no_other(asked, paths):
    values = merged(SMALL)
    for path in paths:
        values = other(values, path)
    rules = set().union(*map(expected, paths))
    told = {"report"} if any(path[0] in TOLD for path in paths) else set()
    assert asked(values) == rules | told | CRATE


def test_every_value_is_tried_or_names_something_else():
    values = merged(SMALL)
    without = {
        ".".join(path) for path in leaves(values) if path[0] != "paths" and other(values, path) is None
    }
    assert without <= set(NAMES)


SWAPS = {
    "two values": (("part", "reference", "model", "heads"), ("part", "reference", "model", "blocks")),
    "two of one section": (("attention", "jets"), ("attention", "maps")),
}


@pytest.mark.parametrize("pair", SWAPS)
def test_two_values_swapped_are_seen(asked, pair):
    values = merged(SMALL)
    one, two = SWAPS[pair]
    swapped = replaced(replaced(values, one, at(values, two)), two, at(values, one))
    assert asked(swapped) >= expected(one)


def test_a_value_changed_to_one_that_stands_elsewhere_in_its_section_is_seen(asked):
    values = merged(SMALL)
    model = values["part"]["reference"]["model"]
    assert model["heads"] != model["blocks"]
    same = replaced(values, ("part", "reference", "model", "heads"), model["blocks"])
    assert asked(same) == WHOLE_RUN | {"report"} | CRATE


FOLLOWS = {
    ("observables", "jets"): {"statistics_observables", "draw_observables", "report", *CRATE},
    ("interventions", "seed"): {"statistics_interventions", "draw_interventions", "report", *CRATE},
    ("latency", "samples"): {"measure_latency_part", "draw_compression", "report", *CRATE},
}


@pytest.mark.parametrize("path", FOLLOWS, ids=".".join)
def test_what_is_made_from_a_changed_step_runs_again_and_nothing_else(asked, path):
    assert asked(other(merged(SMALL), path), plan).rules == FOLLOWS[path]


def test_scripts_know_nothing_of_the_configuration_but_folders():
    for script in (ROOT / "workflow" / "scripts").glob("*.py"):
        known = re.findall(r"snakemake\.config\S*", script.read_text())
        assert all(use.startswith('snakemake.config["paths"]') for use in known), script
