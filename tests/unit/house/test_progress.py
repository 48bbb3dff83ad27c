import fcntl
import logging
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from softjet.progress import Progress

CODE = """
from softjet.progress import Progress

with Progress(4, "train", "steps", done=2) as progress:
    progress.advance(2, "loss 1")
"""


def test_log_gets_a_line_when_one_is_due_and_the_rate_counts_from_the_resume(caplog):
    caplog.set_level(logging.INFO, "softjet")
    with Progress(10, "train", "steps", done=6, every=0) as progress:
        progress.advance(2, "loss 1.5")
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "train: 4 steps to do"
    assert lines[1].startswith("train: 8 of 10 steps, ")
    assert lines[1].endswith("loss 1.5")
    assert "done" in lines[2]


@pytest.mark.parametrize(("seconds", "said"), [(0.5, "4.0 a second"), (80, "40.0 s each")])
def test_the_pace_is_told_by_a_number_above_one(caplog, monkeypatch, seconds, said):
    caplog.set_level(logging.INFO, "softjet")
    with Progress(2, "train", "steps", every=1e9) as progress:
        progress.advance(2)
        monkeypatch.setattr("time.monotonic", lambda: progress._start + seconds)
    assert f"2 of 2 steps, {said}" in caplog.records[-1].getMessage()


def test_log_gets_no_line_before_one_is_due(caplog):
    caplog.set_level(logging.INFO, "softjet")
    with Progress(10, "train", "steps") as progress:
        for _ in range(10):
            progress.advance()
    assert len(caplog.records) == 2


def test_a_failure_is_logged_with_how_far_it_came(caplog):
    caplog.set_level(logging.INFO, "softjet")
    with pytest.raises(KeyError), Progress(10, "train", "steps") as progress:  # noqa: PT012
        progress.advance(3)
        raise KeyError
    assert "3 of 10 steps" in caplog.records[-1].getMessage()
    assert "stopped at" in caplog.records[-1].getMessage()


def test_a_terminal_gets_a_bar_and_a_file_none(tmp_path):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    subprocess.run([sys.executable, "-c", CODE], stderr=theirs, check=True)
    os.close(theirs)
    assert "100%|" in os.read(ours, 65536).decode()
    with (tmp_path / "err").open("w") as stream:
        subprocess.run([sys.executable, "-c", CODE], stderr=stream, check=True)
    assert "%|" not in (tmp_path / "err").read_text()
