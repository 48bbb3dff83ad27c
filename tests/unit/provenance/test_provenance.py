import errno
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace

import pytest

from softjet.errors import InputError
from softjet.provenance import digests, sidecar
from softjet.provenance.alone import alone
from softjet.provenance.digests import code_digest, fingerprint, text_digest
from softjet.provenance.files import sha256, whole_file
from softjet.provenance.job import job
from softjet.provenance.sidecar import device, read_sidecar, seeds

SOURCE = Path(digests.__file__).parents[2]


def test_whole_file_leaves_nothing_of_a_failed_write(tmp_path):
    target = tmp_path / "table.parquet"
    target.write_text("old")
    with pytest.raises(RuntimeError), whole_file(target) as partial:  # noqa: PT012
        partial.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_whole_file_keeps_the_suffix_and_moves_once_done(tmp_path):
    with whole_file(tmp_path / "new" / "figure.png") as partial:
        partial.write_text("whole")
        assert partial.suffix == ".png"
        assert not (tmp_path / "new" / "figure.png").exists()
    assert (tmp_path / "new" / "figure.png").read_text() == "whole"


def test_sha256_is_that_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"jet")
    assert sha256(tmp_path / "a") == hashlib.sha256(b"jet").hexdigest()


def _rule(tmp_path, section):
    (tmp_path / "in.txt").write_text("in")
    spec = {"section": section, "code": "c", "environment": "e"}
    return SimpleNamespace(
        rule="step",
        input=[str(tmp_path / "in.txt")],
        output=[str(tmp_path / "out.txt"), str(tmp_path / "out.txt.meta.json")],
        params=SimpleNamespace(spec=spec),
        log=[str(tmp_path / "logs" / "step.log")],
        threads=1,
        config={"paths": {"state": str(tmp_path / "state")}},
    )


def test_job_writes_a_sidecar_and_clears_its_state(tmp_path):
    with job(_rule(tmp_path, {"seed": 3})) as step:
        step.state.mkdir(parents=True)
        step.notes["residual"] = 0.5
        (tmp_path / "out.txt").write_text("out")
    facts = read_sidecar(tmp_path / "out.txt")
    assert facts["sha256"] == sha256(tmp_path / "out.txt")
    assert facts["inputs"] == {str(tmp_path / "in.txt"): sha256(tmp_path / "in.txt")}
    assert facts["section"] == {"seed": 3}
    assert facts["notes"] == {"residual": 0.5}
    assert {"commit", "versions", "host", "started", "wall_seconds", "rule"} <= set(facts)
    assert (facts["artefact"], facts["outputs"]) == (str(tmp_path / "out.txt"), [str(tmp_path / "out.txt")])
    assert (facts["seeds"], facts["device"]) == ({"seed": 3}, "cpu")
    assert not step.state.exists()


def test_a_sidecar_tells_what_decides_how_fast_it_was(tmp_path, monkeypatch):
    monkeypatch.setenv("MALLOC_TOP_PAD_", "1000")
    info = tmp_path / "cpuinfo"
    info.write_text(
        "model name\t: Fast\nflags\t\t: fpu avx512f amx_tile fma\nmodel name\t: Fast\nflags\t: fma\n"
    )
    monkeypatch.setattr(sidecar, "CPUINFO", info)
    found = sidecar.host.__wrapped__()
    assert (found["processor"], found["flags"]) == ("Fast", ["amx_tile", "avx512f", "fma"])
    assert found["memory"]["MALLOC_TOP_PAD_"] == "1000"
    assert all(name.startswith("MALLOC_") for name in found["memory"])
    assert {"torch", "weaver-core", "transformers"} <= set(sidecar.versions())


def test_seeds_are_found_wherever_they_stand():
    section = {
        "seed": 1,
        "training": {"seed": 2, "steps": 3},
        "runs": {"a": {"learning": {"seed": 4}}},
        "x": [5],
    }
    assert seeds(section) == {"seed": 1, "training.seed": 2, "runs.a.learning.seed": 4}


def test_device_is_the_gpu_that_was_used(monkeypatch):
    used = SimpleNamespace(is_initialized=lambda: True, get_device_name=lambda: "H100")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=used))
    assert device() == "H100"
    used.is_initialized = lambda: False
    assert device() == "cpu"


def test_a_step_may_name_the_device_of_its_processes(tmp_path):
    with job(_rule(tmp_path, {})) as step:
        step.device = "H200"
        (tmp_path / "out.txt").write_text("out")
    assert read_sidecar(tmp_path / "out.txt")["device"] == "H200"


def test_job_builds_on_no_input_that_was_changed_after_it_was_made(tmp_path, caplog):
    rule = _rule(tmp_path, {})
    (tmp_path / "in.txt.meta.json").write_text(json.dumps({"sha256": sha256(tmp_path / "in.txt")}))
    with job(rule):
        (tmp_path / "out.txt").write_text("out")
    (tmp_path / "in.txt").write_text("edited")
    with pytest.raises(SystemExit), job(rule):
        raise AssertionError
    assert "in.txt: sha256: changed after it was made; remove it" in caplog.messages[-1]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "out of memory (MemoryError); give the job more memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (RuntimeError("[enforce fail] . PytorchStreamWriter failed writing file data/0"), "the disk is full"),
    ],
)
def test_job_says_in_one_line_what_to_do_when_memory_or_disk_ends(tmp_path, caplog, error, said):
    with pytest.raises(SystemExit), job(_rule(tmp_path, {})):
        raise error
    assert len(caplog.messages) == 1
    assert said in caplog.text
    assert "run again" in caplog.text
    assert not (tmp_path / "out.txt.meta.json").exists()


def test_job_removes_what_killed_processes_left_of_its_own_files_only(tmp_path):
    left = [tmp_path / ".partial-12-out.txt", tmp_path / ".partial-ab_c1-out.txt"]
    others = [
        tmp_path / ".partial-12-in.txt",
        tmp_path / ".partial-12-without.txt",
        tmp_path / ".partial-1-a-out.txt",
    ]
    left[1].mkdir()
    for path in (left[0], left[1] / "scratch", *others):
        path.write_text("half")
    with job(_rule(tmp_path, {})):
        assert not any(path.exists() for path in left)
        (tmp_path / "out.txt").write_text("out")
    assert all(path.exists() for path in others)


def test_a_result_is_made_by_one_process_at_a_time(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from softjet.provenance.alone import alone\n"
        "with alone(Path(sys.argv[1]) / 'lock'):\n"
        "    log = Path(sys.argv[1], 'log').open('a'); print('in', file=log, flush=True); time.sleep(0.2)\n"
        "    print('out', file=log, flush=True)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert (tmp_path / "log").read_text().split() == ["in", "out"] * 4
    assert not (tmp_path / "lock").exists()


def test_a_lock_that_was_removed_while_it_was_waited_for_is_no_lock(tmp_path, caplog):
    folder, entered = tmp_path / "lock", Event()

    def enter():
        with alone(folder):
            entered.set()

    with alone(folder):
        waiting = Thread(target=enter)
        waiting.start()
        until = time.monotonic() + 30
        while "wait until it ends" not in caplog.text:
            assert time.monotonic() < until
            time.sleep(0.01)
        folder.rmdir()
        folder.mkdir()
        other = os.open(folder, os.O_RDONLY)
        fcntl.flock(other, fcntl.LOCK_EX)
        (folder / "kept").touch()
    assert not entered.wait(0.3)
    (folder / "kept").unlink()
    os.close(other)
    waiting.join(10)
    assert entered.is_set()


def test_fingerprint_sees_size_beginning_and_end_and_not_the_time(tmp_path):
    path, whole = tmp_path / "large.root", bytes(200_000)
    path.write_bytes(whole)
    first = fingerprint(path)
    os.utime(path, (1, 1))
    assert fingerprint(path) == first
    for other in (b"1" + whole[1:], whole[:-1] + b"1", whole + b"1"):
        path.write_bytes(other)
        assert fingerprint(path) != first
    assert fingerprint(tmp_path / "absent.root") is None


def test_job_turns_an_input_error_into_one_line_and_a_status(tmp_path):
    code = (
        "import sys, json; from types import SimpleNamespace as N\n"
        "from softjet.provenance.job import job; from softjet.errors import InputError\n"
        "r = json.loads(sys.argv[1]); r['params'] = N(**r['params'])\n"
        "with job(N(**r)): raise InputError('jets.root', 'part_px', 'holds NaN')\n"
    )
    rule = vars(_rule(tmp_path, {})) | {"params": {"spec": {"section": {}, "code": "", "environment": ""}}}
    done = subprocess.run([sys.executable, "-c", code, json.dumps(rule)], capture_output=True, text=True)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "jets.root: part_px: holds NaN" in done.stderr
    assert not (tmp_path / "out.txt.meta.json").exists()


def test_state_folder_changes_with_parameters_and_inputs_only(tmp_path):
    def state(section, content):
        rule = _rule(tmp_path, section)
        (tmp_path / "in.txt").write_text(content)
        with pytest.raises(ZeroDivisionError), job(rule) as step:  # noqa: PT012
            step.state.mkdir(parents=True, exist_ok=True)
            raise ZeroDivisionError
        return step.state

    first = state({"heads": 8, "rank": 4}, "in")
    assert state({"rank": 4, "heads": 8}, "in") == first
    assert first.exists()
    assert state({"heads": 4, "rank": 8}, "in") != first
    assert state({"heads": 8, "rank": 4}, "other") != first


def test_text_digest_sees_pins_and_not_comments(tmp_path):
    lock = tmp_path / "requirements.txt"
    lock.write_text("numpy==2.0\n")
    first = text_digest(lock)
    lock.write_text("# why\nnumpy==2.0  # via x\n\n")
    assert text_digest(lock) == first
    lock.write_text("numpy==2.1\n")
    assert text_digest(lock) != first


@pytest.fixture
def copy_of_library(tmp_path):
    shutil.copytree(SOURCE, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    script = tmp_path / "script.py"
    script.write_text("from softjet.jets import schema\n")

    def digest():
        code = f"from softjet.provenance.digests import code_digest as d; print(d({str(script)!r}))"
        environment = os.environ | {"PYTHONPATH": str(tmp_path / "src")}
        return subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
        ).stdout

    return tmp_path / "src" / "softjet", digest


def test_code_digest_follows_imports_and_nothing_else(copy_of_library):
    package, digest = copy_of_library
    first = digest()
    (package / "errors.py").touch()
    (package / "progress.py").write_text(
        (package / "progress.py").read_text() + "\n# not imported by schema\n"
    )
    assert digest() == first
    schema = package / "jets" / "schema.py"
    schema.write_text(schema.read_text() + "\nEXTRA = 1\n")
    second = digest()
    assert second != first
    (package / "__init__.py").write_text("# runs whenever a module of it is imported\n")
    assert digest() != second


def test_code_digest_of_this_checkout_is_stable(tmp_path):
    script = tmp_path / "s.py"
    script.write_text("import softjet.errors\n")
    assert code_digest(script) == code_digest(script)


def test_input_error_is_one_line():
    assert str(InputError("f", "x", "a\nb   c")) == "f: x: a b c"
