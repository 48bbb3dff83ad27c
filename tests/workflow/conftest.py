"""Finished results that tests of the workflow share: each is made once."""

import pytest
import small_language
import yaml
from running import snakemake


@pytest.fixture(scope="session")
def traces(tmp_path_factory):
    """Folder where the jobs behind `finished` and `finished_language` note what they open and import."""
    return tmp_path_factory.mktemp("traces")


@pytest.fixture(scope="session")
def finished(tmp_path_factory, traces):
    """Folder of the small configuration, finished."""
    folder = tmp_path_factory.mktemp("chain with a space")
    done = snakemake(folder, TRACE=str(traces))
    assert done.returncode == 0, done.stderr[-6000:]
    return folder


@pytest.fixture(scope="session")
def finished_language(tmp_path_factory, traces):
    """Folder of small language models of every family, finished; its configuration is mine.yaml."""
    folder = tmp_path_factory.mktemp("language")
    small_language.write_text(folder)
    (folder / "mine.yaml").write_text(yaml.safe_dump(small_language.config()))
    done = snakemake(folder, config=folder / "mine.yaml", TRACE=str(traces))
    assert done.returncode == 0, done.stderr[-6000:]
    return folder
