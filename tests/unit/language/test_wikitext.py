"""Running text: the raw file and the hub's Parquet give the same lines."""

import gzip
import logging

import pandas as pd
import pytest

from softjet.config.language import Source, Task
from softjet.errors import InputError
from softjet.language.text import prepare_text
from softjet.language.wikitext import text_rows

RAW = " \n = Senjō = \n \n First line . \n Second line . \n"
HUB = ["", " = Senjō = \n", "", " First line . \n", " Second line . \n"]
"""What the data set's own script makes of RAW."""


def write(folder, name, content=RAW):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())


@pytest.mark.parametrize("name", ["wiki.test.raw", "test.raw.gz", "test.txt", "wikitext-2-raw/wiki.test.raw"])
def test_raw_file_gives_the_lines_of_the_hub(tmp_path, name):
    write(tmp_path, name)
    write(tmp_path, name.replace("test", "train"), "other\n")
    assert text_rows("wikitext2", tmp_path, "test")["text"].tolist() == HUB


def test_parquet_of_the_hub_among_other_sets(tmp_path):
    for folder, lines in (("wikitext-2-raw-v1", HUB), ("wikitext-103-raw-v1", ["other\n"])):
        (tmp_path / folder).mkdir()
        table = pd.DataFrame({"text": lines})
        table.to_parquet(tmp_path / folder / "test-00000-of-00001.parquet")
    assert text_rows("wikitext2", tmp_path, "test")["text"].tolist() == HUB
    assert text_rows("wikitext103", tmp_path, "test")["text"].tolist() == ["other\n"]


def test_last_line_without_an_end_is_kept_as_it_stands(tmp_path):
    write(tmp_path, "test.txt", "one\ntwo")
    assert text_rows("text", tmp_path, "test")["text"].tolist() == ["one\n", "two"]


def test_train_and_test_are_prepared(tmp_path):
    write(tmp_path, "train.txt", "learn\nfrom\n")
    write(tmp_path, "test.txt", "judge\n")
    texts = prepare_text(Task(name="text", source=Source(folder="x")), tmp_path)
    assert texts.training["text"].tolist() == ["learn\n", "from\n"]
    assert texts.evaluation["text"].tolist() == ["judge\n"]
    assert texts.notes == {"training": 2, "evaluation": 1}


@pytest.mark.parametrize(
    ("name", "content", "field"),
    [
        ("test.txt", b"caf\xe9\n", "encoding"),
        ("test.raw.gz", b"\x1f\x8b no gzip", "content"),
        ("test.raw.gz", gzip.compress(b"a long text\n" * 50)[:-20], "content"),
        ("test.txt", b" \n\n", "test"),
    ],
)
def test_bad_text_is_named_in_one_line(tmp_path, name, content, field):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as error:
        text_rows("text", tmp_path, "test")
    assert (error.value.where, error.value.field) == (str(tmp_path / name), field)


def test_missing_split_is_named(tmp_path):
    write(tmp_path, "train.txt")
    with pytest.raises(InputError, match="no file of test"):
        text_rows("text", tmp_path, "test")


def test_hidden_copies_are_no_part_of_a_split(tmp_path, caplog):
    caplog.set_level(logging.INFO, "softjet")
    folder = tmp_path / ".cache" / "mine"  # the folder itself may be hidden
    write(folder, "train.txt")
    expected = text_rows("text", folder, "train")
    for name in (".ipynb_checkpoints/train-checkpoint.txt", ".train.txt", "train/.partial/a.txt"):
        write(folder, name)
    pd.testing.assert_frame_equal(text_rows("text", folder, "train"), expected)
    assert caplog.messages == [f"{folder}: train: train.txt"] * 2


def test_only_the_first_lines_are_learned_from_where_so_asked(tmp_path):
    for split in ("train", "test"):
        write(tmp_path, f"{split}.raw.gz")
    task = Task(name="wikitext2", source=Source(folder=str(tmp_path)), lines=2)
    texts = prepare_text(task, tmp_path)
    assert texts.training["text"].tolist() == HUB[:2]
    assert texts.evaluation["text"].tolist() == HUB
    assert texts.notes == {"training": 2, "evaluation": 5}
