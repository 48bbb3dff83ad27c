import shutil
from dataclasses import replace

import httpx
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError, RevisionNotFoundError

from softjet.config.language import Source
from softjet.errors import InputError
from softjet.language import download, registry
from softjet.language.packages import PACKAGES, Member, Package
from softjet.language.registry import listed, resolve, stated

COMMIT = "0" * 40
WORDS = Package(
    "pip",
    {},
    {"words": Member(("x",), 5, "486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7")},
    "none",
    "words",
)  # the digest is of b"world"


@pytest.fixture
def fetched(monkeypatch):
    """Packages that were fetched, instead of fetching them."""
    names = []

    def fetch(name, folder):
        names.append(name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "words").write_text("world")

    monkeypatch.setitem(PACKAGES, "words", WORDS)
    monkeypatch.setattr(registry, "fetch_package", fetch)
    return names


@pytest.fixture
def hub(monkeypatch):
    """Answer of the hub: a folder or an error; what it was asked is kept."""
    answer = {}

    def snapshot(name, **asked):
        answer["asked"] = (name, asked)
        if isinstance(answer["gives"], Exception):
            raise answer["gives"]
        return str(answer["gives"])

    monkeypatch.setattr(registry, "snapshot_download", snapshot)
    return answer


def everything(folder=None):
    return Source(folder=folder and str(folder), hub="owner/name", revision=COMMIT, package="words")


def test_folder_of_the_user_comes_first(tmp_path, hub, fetched):
    (tmp_path / "mine").mkdir()
    assert resolve(everything(tmp_path / "mine"), tmp_path / "p", tmp_path / "h") == tmp_path / "mine"
    assert "asked" not in hub
    assert not fetched


def test_folder_that_is_absent_is_one_line(tmp_path, hub, fetched):
    with pytest.raises(InputError, match="mine: folder: does not exist"):
        resolve(everything(tmp_path / "mine"), tmp_path / "p", tmp_path / "h")


def test_hub_is_asked_for_plain_files_of_the_commit(tmp_path, hub, fetched):
    hub["gives"] = tmp_path / "snapshot"
    assert resolve(everything(), tmp_path / "p", tmp_path / "h", "dataset") == tmp_path / "snapshot"
    name, asked = hub["asked"]
    assert (name, asked["revision"], asked["repo_type"]) == ("owner/name", COMMIT, "dataset")
    assert asked["cache_dir"] == tmp_path / "h"
    assert set(asked["allow_patterns"]) == {"*.safetensors", "*.json", "*.txt", "*.model", "*.parquet"}
    assert not fetched


def test_package_is_used_where_there_is_no_hub_and_the_log_says_so(tmp_path, hub, fetched, caplog):
    hub["gives"] = LocalEntryNotFoundError("no way")
    assert resolve(everything(), tmp_path / "p", tmp_path / "h") == tmp_path / "p/words"
    assert fetched == ["words"]
    assert "owner/name" in caplog.text
    assert "package words is used" in caplog.text


def test_no_hub_and_no_package_is_one_line(tmp_path, hub):
    hub["gives"] = LocalEntryNotFoundError("no way")
    with pytest.raises(InputError, match=f"owner/name at {COMMIT}: hub: cannot be reached; give a folder"):
        resolve(Source(hub="owner/name", revision=COMMIT), tmp_path / "p", tmp_path / "h")


def test_commit_that_the_hub_does_not_know_is_no_reason_for_another_source(tmp_path, hub, fetched):
    answer = httpx.Response(404, request=httpx.Request("GET", "http://localhost"))
    hub["gives"] = RevisionNotFoundError("no such commit", response=answer)
    with pytest.raises(InputError, match="hub: no such commit"):
        resolve(everything(), tmp_path / "p", tmp_path / "h")
    assert not fetched


@pytest.mark.parametrize(("held", "again"), [("world", []), ("wrong", ["words"])])
def test_package_that_is_there_and_right_is_not_fetched_again(tmp_path, fetched, held, again):
    (tmp_path / "words").mkdir()
    (tmp_path / "words/words").write_text(held)
    assert resolve(Source(package="words"), tmp_path, tmp_path / "h") == tmp_path / "words"
    assert fetched == again
    assert (tmp_path / "words/words").read_text() == "world"


def test_a_source_states_commit_or_pinned_version_and_nothing_that_was_not_given():
    assert stated(None) is None
    assert stated(everything("mine")) == {"folder": "mine"}
    assert stated(Source(hub="owner/name", revision=COMMIT)) == {"hub": "owner/name", "revision": COMMIT}
    found = stated(Source(package="tinyllama"))
    assert found.pop("requirements") == sorted(PACKAGES["tinyllama"].artefacts)
    assert found == {"package": "tinyllama", "what": PACKAGES["tinyllama"].note}


def test_what_a_killed_download_left_is_not_listed(tmp_path, monkeypatch):
    def killed(client, requirement, digest, folder):
        folder.mkdir()
        (folder / "half.whl").write_text("half")
        shutil.copytree(tmp_path / "package", tmp_path / "left")
        raise KeyboardInterrupt

    monkeypatch.setitem(PACKAGES, "words", replace(WORDS, artefacts={"words==1": "0"}))
    monkeypatch.setattr(download, "_fetch", killed)
    with pytest.raises(KeyboardInterrupt):
        download.fetch_package("words", tmp_path / "package")
    left = tmp_path / "left"
    assert [path.name for path in left.rglob("*") if path.is_file()] == ["half.whl"]
    (left / "part").mkdir()
    for name in ("words", "part/words"):
        (left / name).write_text("world")
    assert listed(left) == dict.fromkeys(("part/words", "words"), WORDS.members["words"].sha256)
