"""Calls that another process makes."""

import gc
import os
import sys
from pathlib import Path

import pytest

from softjet.latency.peer import Peer


def counting(file, variable):
    """A call that notes how often it was made and what the environment says; it also prints."""
    path, calls = Path(file), []

    def call():
        calls.append(os.environ.get(variable, "unset"))
        print("ready or not")
        path.write_text(f"collects: {gc.isenabled()}, {calls}")
        if len(calls) == 3:
            sys.exit("three are enough")

    return call


def environment(**changes):
    """This process's own, in which this file can be imported."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parent), **changes}


def test_a_call_is_made_in_the_environment_that_it_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("SETTING", "here")
    file = tmp_path / "calls"
    arguments = str(file), "SETTING"
    with Peer("test_peer:counting", arguments, environment(SETTING="there")) as peer:
        assert not file.exists()
        for done in (1, 2):
            peer()
            assert file.read_text() == f"collects: False, {done * ['there']}"
    without = {name: value for name, value in environment().items() if name != "SETTING"}
    with Peer("test_peer:counting", arguments, without) as peer:
        peer()
        assert "unset" in file.read_text()


def test_a_process_that_ends_is_noticed(tmp_path):
    with Peer("test_peer:counting", (str(tmp_path / "calls"), "SETTING"), environment()) as peer:
        peer()
        peer()
        with pytest.raises(RuntimeError, match="ended with 1"):
            peer()
        with pytest.raises(RuntimeError, match="ended with 1"):
            peer()
    with pytest.raises(RuntimeError, match="ended with 1"):
        Peer("test_peer:counting", ("one argument",), environment())
