"""Results shared between folders ($SNAKEMAKE_OUTPUT_CACHE): reused where they fit, never where not."""

import shutil

import pytest
import yaml
from running import ROOT, clone, plan, snakemake

from softjet.provenance.files import sha256, whole_file
from softjet.provenance.sidecar import read_sidecar

pytestmark = pytest.mark.workflow

QCD = "resources/simulated/simulated/QCD_0.root"
COUNTS = "results/jets/mine/counts.parquet"
FILES = (
    QCD,
    *(
        f"results/jets/mine/{name}.parquet"
        for name in ("counts", "rejected", "train_0", "validation_0", "test_0")
    ),
)
TAKEN, STORED = "from cache.", "to cache."


@pytest.fixture(scope="module")
def run(tmp_path_factory, finished):
    """Function that runs in a folder of its own, one cache for all; gives it and what was said."""
    cache = tmp_path_factory.mktemp("cache")
    jets = finished / "resources" / "simulated" / "simulated"

    def run(names=("QCD", "Hbb", "Zqq"), seed=1, root=ROOT, targets=(QCD, COUNTS)):
        folder = tmp_path_factory.mktemp("folder")
        (folder / "mine").mkdir()
        for place, name in enumerate(names):
            shutil.copyfile(jets / f"{name}_0.root", folder / "mine" / f"{place}.root")
        datasets = {
            "simulated": {"simulation": {"jets_per_class": 2, "seed": seed}},
            "mine": {"source": "jetclass", "files": ["mine/*.root"]},
        }
        rest = {"compress": None, "tasks": None, "language": None}
        (folder / "mine.yaml").write_text(yaml.safe_dump({"datasets": datasets, **rest}))
        how = {"config": folder / "mine.yaml", "root": root, "SNAKEMAKE_OUTPUT_CACHE": str(cache)}
        done = snakemake(folder, "--cache", "--", *targets, **how)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "Nothing to be done" in plan(folder, "--cache", "--", *targets, **how).said
        return folder, done.stderr

    return run


@pytest.fixture(scope="module")
def first(run):
    return run()


def test_a_second_folder_takes_all_files_with_their_sidecars(run, first):
    assert first[1].count(STORED) == 2 * len(FILES)
    second, said = run()
    assert said.count(TAKEN) == 2 * len(FILES)
    assert STORED not in said
    for name in FILES:
        assert sha256(first[0] / name) == sha256(second / name) == read_sidecar(second / name)["sha256"]


def edited(folder):
    """A checkout with another simulation."""
    root = clone(folder, copy=shutil.copy2, without=())  # with what is compiled, which takes long
    module = root / "src" / "softjet" / "jets" / "detector.py"
    module.write_text(module.read_text() + "\n# edited\n")
    return root


def test_nothing_is_taken_after_an_edit_of_a_module(tmp_path, run, first):
    _, said = run(root=edited(tmp_path / "clone"), targets=(QCD,))
    assert said.count(STORED) == 2


def test_nothing_is_taken_for_files_of_another_content(run, first):
    _, said = run(names=("Hcc", "Hbb", "Zqq"), targets=(COUNTS,))
    assert said.count(STORED) == 10


@pytest.mark.long
def test_nothing_is_taken_for_another_value_nor_for_files_that_have_swapped_their_names(run, first):
    _, said = run(names=("Hbb", "QCD", "Zqq"), seed=2)
    assert said.count(STORED) == 2 * len(FILES)


def test_a_step_that_writes_anew_leaves_the_cache_as_it_was(run, first):
    folder, _ = run()
    path, kept = folder / QCD, (folder / QCD).resolve()
    before = sha256(kept)
    with whole_file(path) as partial:
        partial.write_bytes(b"other")
    assert not path.is_symlink()
    assert sha256(kept) == before


def test_without_a_cache_nothing_is_said_of_it(finished):
    assert "caching" not in plan(finished).said
