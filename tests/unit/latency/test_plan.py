"""Plans of large runs from the sidecars of small ones."""

import math

import pytest

from softjet.latency.plan import Step, markdown, measured, plan
from softjet.provenance.sidecar import sidecar_path, write_sidecar


@pytest.fixture
def artefacts(tmp_path):
    """Two jobs of 36 s on two threads; the first left two files of 1,000 bytes, the second one."""
    paths = []
    for name, section in (("a", {"shard": 0}), ("b", {"shard": 0}), ("c", {"shard": 1})):
        path = tmp_path / name
        path.write_bytes(bytes(1000))
        facts = {"rule": "simulate", "section": section, "inputs": {}, "wall_seconds": 36.0, "threads": 2}
        write_sidecar(path, facts)
        paths.append(path)
    return paths


def test_jobs_count_once_and_files_each(artefacts):
    found = measured(artefacts, 50)
    assert (found.amount, found.core_seconds, found.size) == (50, 144.0, 3000)


def test_an_artefact_that_is_gone_counts_by_its_sidecar(artefacts):
    artefacts[0].unlink()
    assert measured(artefacts, 50) == measured([sidecar_path(path) for path in artefacts], 50)


def test_a_model_is_as_large_after_a_long_training(artefacts):
    table = plan([Step("training", "jets seen", 1000, 1, measured(artefacts, 50), grows=False)])
    assert table.gigabytes[0] == pytest.approx(3e-6)
    assert table.core_hours[0] == pytest.approx(0.8)


def test_hours_and_bytes_grow_with_the_amount_and_unmeasured_steps_have_none(artefacts):
    found = measured(artefacts, 50)
    table = plan([Step("simulation", "jets", 1_000_000, 20, found), Step("on a GPU", "jets", 10, 1, None)])
    known, unknown = table.to_dict("records")
    assert known["core_hours"] == pytest.approx(144 / 3600 * 20_000)
    assert known["gigabytes"] == pytest.approx(0.06)
    assert math.isnan(unknown["core_hours"])
    assert math.isnan(unknown["gigabytes"])
    lines = markdown(table).splitlines()
    assert lines[2] == "| simulation | 1,000,000 jets | 20 | 50 jets | 800 | 0.06 |"
    assert lines[3].count("not measured") == 3
    assert lines[4] == "| all that was measured | | | | 800 | 0.06 |"
