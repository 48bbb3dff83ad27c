"""Bad files and configurations of every kind: one line each, and nothing run, written or filled."""

import bad_config
import bad_jets
import bad_text
import bad_weights
import pytest
from cases import Case
from watch import MEMORY, files, watched

from softjet.errors import InputError

CASES = bad_config.CASES | bad_jets.CASES | bad_weights.CASES | bad_text.CASES


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_one_line_and_nothing_else(tmp_path, monkeypatch, case: Case):
    given, out, here = (tmp_path / name for name in ("given", "out", "here"))
    for folder in (given, out, here):
        folder.mkdir()
    monkeypatch.chdir(here)
    bad = case.make(given)
    before = files(tmp_path)
    with watched(out) as seen, pytest.raises(InputError) as error:
        case.read(bad, out)
    line = str(error.value)
    assert line.isprintable()
    assert len(line) < 2000
    for word in case.words:
        assert word in line
    assert not seen.ran
    assert not seen.wrote
    assert files(tmp_path) == before
    assert seen.memory < MEMORY
