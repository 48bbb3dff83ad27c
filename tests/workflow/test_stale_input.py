"""Files of the user's own: another content is seen whatever its time, the same content is not."""

import os
import shutil

import pytest
import yaml
from running import plan, snakemake

pytestmark = pytest.mark.workflow

COUNTS = "results/jets/mine/counts.parquet"
CONFIG = {
    "datasets": {"simulated": None, "mine": {"source": "jetclass", "files": ["mine/*.root"]}},
    "part": {"reference": {"dataset": "mine"}},
    "tasks": None,
    "language": None,
    "compress": None,
}


@pytest.fixture(scope="module")
def converted(tmp_path_factory, finished):
    """Folder with jets of three classes of the user's own, converted; with a fourth aside."""
    folder = tmp_path_factory.mktemp("converted")
    (folder / "mine").mkdir()
    (folder / "mine.yaml").write_text(yaml.safe_dump(CONFIG))
    jets = finished / "resources" / "simulated" / "simulated"
    for place, name in enumerate(("QCD", "Hbb", "Zqq")):
        shutil.copyfile(jets / f"{name}_0.root", folder / "mine" / f"{place}.root")
    shutil.copyfile(jets / "Hcc_0.root", folder / "other.root")
    done = snakemake(folder, COUNTS, config=folder / "mine.yaml")
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def keep(folder, first, second):
    os.utime(first)


def write(folder, first, second):
    shutil.copyfile(folder / "other.root", first)


def write_as_old(folder, first, second):
    before = first.stat().st_mtime
    write(folder, first, second)
    os.utime(first, (before, before))


def swap(folder, first, second):
    first.rename(folder / "between.root")
    second.rename(first)
    (folder / "between.root").rename(second)


def add(folder, first, second):
    shutil.copyfile(folder / "other.root", first.with_name("more.root"))


def remove(folder, first, second):
    first.unlink()


EXPERIMENTS = {keep: set(), write: {"convert_mine"}, write_as_old: {"convert_mine"}, swap: {"convert_mine"}}
EXPERIMENTS |= {add: {"convert_mine"}, remove: {"convert_mine"}}


@pytest.mark.parametrize("change", EXPERIMENTS, ids=lambda change: change.__name__)
def test_content_of_input_files_counts_and_their_times_do_not(tmp_path, converted, change):
    folder = tmp_path / "copy"
    shutil.copytree(converted, folder)
    change(folder, folder / "mine" / "0.root", folder / "mine" / "1.root")
    assert plan(folder, COUNTS, config=folder / "mine.yaml").rules == EXPERIMENTS[change]
