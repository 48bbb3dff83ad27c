"""Every GLUE task in the layout of the hub and of GLUE's own archive gives the same rows."""

import logging

import pandas as pd
import pyarrow as pa
import pytest

from softjet.config.language import Source, Task
from softjet.errors import InputError
from softjet.language.glue import TASKS, classification_rows
from softjet.language.overlap import letters, overlap, without_overlap
from softjet.language.text import prepare_text

TSV = {
    "cola": (None, "gj04\t{label}\t*\t{a}"),
    "sst2": ("sentence\tlabel", "{a}\t{label}"),
    "mrpc": ("\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String", "{label}\t1\t2\t{a}\t{b}"),
    "qqp": ("id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", "1\t2\t3\t{a}\t{b}\t{label}"),
    "mnli": ("index\tsentence1\tsentence2\tlabel1\tgold_label", "1\t{a}\t{b}\tneutral\t{name}"),
    "qnli": ("index\tquestion\tsentence\tlabel", "1\t{a}\t{b}\t{name}"),
    "rte": ("index\tsentence1\tsentence2\tlabel", "1\t{a}\t{b}\t{name}"),
    "wnli": ("index\tsentence1\tsentence2\tlabel", "1\t{a}\t{b}\t{label}"),
}
TEXTS = ['"He said no', "An unpaired 'quote", "café — naïve", "plain"]


def rows_of(task):
    classes = TASKS[task].classes
    return [(text, f"{text} again", i % len(classes)) for i, text in enumerate(TEXTS)]


def write_hub(folder, task, split):
    spec = TASKS[task]
    rows = pd.DataFrame(rows_of(task), columns=["a", "b", "label"])
    columns = {spec.text[0]: rows["a"], "label": rows["label"], "idx": range(len(rows))}
    if spec.pair:
        columns[spec.pair[0]] = rows["b"]
    target = folder / task / f"{split}-00000-of-00001.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(columns).to_parquet(target)


def write_archive(folder, task, split):
    heading, form = TSV[task]
    lines = [] if heading is None else [heading]
    classes = TASKS[task].classes
    lines += [form.format(a=a, b=b, label=i, name=classes[i]) for a, b, i in rows_of(task)]
    target = folder / TASKS[task].folder / f"{split}.tsv"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("task", list(TASKS))
def test_hub_and_archive_give_the_same_rows(tmp_path, task):
    expected = rows_of(task)
    spec = TASKS[task]
    write_hub(tmp_path / "hub", task, spec.evaluation[0])
    write_hub(tmp_path / "hub", "sst2" if task != "sst2" else "rte", spec.evaluation[0])
    write_archive(tmp_path / "archive", task, spec.evaluation[1])
    for folder in ("hub", "archive"):
        table, broken = classification_rows(task, tmp_path / folder, spec.evaluation)
        assert broken == 0
        assert table["text"].tolist() == [a for a, _, _ in expected]
        assert (
            table["pair"].isna().all()
            if not spec.pair
            else table["pair"].tolist() == [b for _, b, _ in expected]
        )
        assert table["label"].dtype == "int8"
        assert table["label"].tolist() == [label for _, _, label in expected]


def test_matched_split_of_mnli_is_not_the_mismatched_one(tmp_path):
    write_hub(tmp_path, "mnli", "validation_mismatched")
    with pytest.raises(InputError, match="validation_matched"):
        classification_rows("mnli", tmp_path, TASKS["mnli"].evaluation)


@pytest.mark.parametrize("form", ["stream", "file"])
def test_arrow_folder(tmp_path, form):
    table = pa.table({"sentence": ["good", "bad"], "label": [1, 0], "spans": [[1], [2]]})
    target = tmp_path / "sst2" / "validation" / "data-00000-of-00001.arrow"
    target.parent.mkdir(parents=True)
    opened = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
    with opened(str(target), table.schema) as writer:
        writer.write_table(table)
    rows, _ = classification_rows("sst2", tmp_path, ("validation", "dev"))
    assert rows["label"].tolist() == [1, 0]


def test_json_lines_with_names_of_classes(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"sentence": "007", "label": "positive"}\n')
    rows, _ = classification_rows("sst2", tmp_path, ("train",))
    assert rows[["text", "label"]].to_numpy().tolist() == [["007", 1]]


@pytest.mark.parametrize("second", ['{"sentence": "bad"}', '{"sentence": "bad", "label": null}'])
def test_json_lines_without_a_label_are_left_out_and_counted(tmp_path, second):
    lines = [
        '{"sentence": "0012", "label": 1}',
        second,
        "",
        '{"label": 0, "sentence": "2020-01-01", "at": [3]}',
    ]
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    rows, broken = classification_rows("sst2", tmp_path, ("train",))
    assert rows[["text", "label"]].to_numpy().tolist() == [["0012", 1], ["2020-01-01", 0]]
    assert broken == 1


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"sentence": "a", "label": 1}\n[1]\n', "a line holds no object"),
        ('{"sentence": "a", "label": 1\n', "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("\n".join(f'{{"{n}": 1}}' for n in range(3000)), "has 3000 rows of 3000 names"),
    ],
)
def test_json_lines_that_are_none_are_one_line(tmp_path, content, problem):
    (tmp_path / "train.jsonl").write_text(content)
    with pytest.raises(InputError, match=problem):
        classification_rows("sst2", tmp_path, ("train",))


def test_rows_that_break_off_are_left_out_and_counted(tmp_path):
    (tmp_path / "train.tsv").write_text(
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\t3\tWhy ?\tHow ?\t0\n4\t5\t6\tWhat\n"
    )
    rows, broken = classification_rows("qqp", tmp_path, ("train",))
    assert (len(rows), broken) == (1, 1)


@pytest.mark.parametrize(
    ("content", "field", "problem"),
    [
        ("sentence\tlabel\n", "train", "no rows"),
        ("words\tlabel\nfine\t1\n", "sentence", "no column of this name; there are words, label"),
        ("sentence\tlabel\nfine\t1\nbad\t-1\n", "label", "is '-1' in row 2, and sst2 has 0 (negative)"),
        (b"sentence\tlabel\nna\xefve\t1\n", "encoding", "not UTF-8"),
        ("sentence\tlabel\na\t1\t2\t3\nb\t1\n" * 2, "content", "cannot be read"),
    ],
)
def test_bad_file_is_named_in_one_line(tmp_path, content, field, problem):
    path = tmp_path / "train.tsv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as error:
        classification_rows("sst2", tmp_path, ("train",))
    assert (error.value.where, error.value.field) == (str(path), field)
    assert problem in str(error.value)
    assert "\n" not in str(error.value)


def test_damaged_parquet_is_named(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(InputError, match=r"train\.parquet: content"):
        classification_rows("sst2", tmp_path, ("train",))


def test_a_split_that_lacks_a_piece_is_refused(tmp_path):
    table = pd.DataFrame({"sentence": ["x"], "label": [1]})
    for piece in (0, 1, 3):
        table.to_parquet(tmp_path / f"train-0000{piece}-of-00004.parquet")
    with pytest.raises(InputError, match=r"split: piece 2 of 4 is missing \(1 are\); fetch the files again"):
        classification_rows("sst2", tmp_path, ("train",))
    table.to_parquet(tmp_path / "train-00002-of-00004.parquet")
    assert len(classification_rows("sst2", tmp_path, ("train",))[0]) == 4


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_carriage_return_within_a_text_ends_no_line(tmp_path, end):
    lines = ["sentence\tlabel", "this is not\ra good film\t0", "this is\t1"]
    (tmp_path / "dev.tsv").write_bytes((end.join(lines) + end).encode())
    rows, broken = classification_rows("sst2", tmp_path, ("dev",))
    assert rows[["text", "label"]].to_numpy().tolist() == [["this is not\ra good film", 0], ["this is", 1]]
    assert broken == 0


def test_two_formats_of_one_split_are_not_read_twice(tmp_path):
    for end in ("tsv", "csv"):
        (tmp_path / f"train.{end}").write_text("sentence\tlabel\nfine\t1\n")
    with pytest.raises(InputError, match="several formats"):
        classification_rows("sst2", tmp_path, ("train",))


@pytest.mark.parametrize("ends", [("csv", "csv"), ("csv", "jsonl")])
def test_a_second_name_of_a_split_counts_where_the_first_has_no_files(tmp_path, ends, caplog):
    caplog.set_level(logging.INFO, "softjet")
    content = {"csv": "sentence,label\n{},1\n", "jsonl": '{{"sentence": "{}", "label": 1}}\n'}
    names = [f"{name}.{end}" for name, end in zip(("validation", "dev"), ends, strict=True)]
    for name, end in zip(names, ends, strict=True):
        (tmp_path / name).write_text(content[end].format(name.split(".")[0]))
    splits = TASKS["sst2"].evaluation
    assert classification_rows("sst2", tmp_path, splits)[0]["text"].tolist() == ["validation"]
    (tmp_path / names[0]).unlink()
    assert classification_rows("sst2", tmp_path, splits)[0]["text"].tolist() == ["dev"]
    assert caplog.messages == [f"{tmp_path}: validation: {n}" for n in names]


VALIDATION = [
    "it 's a charming and often affecting journey .",
    "do n't -lrb- really -rrb- bother , well-made as it is",
    "cool ?",
]
TRAINING = {
    "It's a charming -- and often affecting -- journey.": "equal",
    "Don\u2019t (really) bother, well\u2014made as it is!": "equal",
    "Cool": "equal",
    "At first slow. It's a charming and often affecting journey": "around",
    "xx it's a charming and often affecting journey, y'all": "around",
    "a charming and often": "within",
    "charming": "kept",
    "cool movie": "kept",
    "it's a charmless and often affecting journey": "kept",
}


def test_overlap_however_the_text_is_split():
    found = overlap(TRAINING, VALIDATION)
    for name in ("equal", "around", "within"):
        assert getattr(found, name).tolist() == [kind == name for kind in TRAINING.values()]


def test_overlap_is_found_at_any_place():
    for before in range(30):
        assert overlap(["z" * before + "It's a charming, and often affecting journey!"], VALIDATION).any.all()


def write_rows(path, texts):
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame({"sentence": texts, "label": [i % 2 for i in range(len(texts))]}).to_csv(path, index=False)


def test_no_validation_text_is_left_in_training_text_from_elsewhere(tmp_path):
    write_rows(tmp_path / "glue/validation.csv", VALIDATION)
    write_rows(tmp_path / "reviews/all_reviews.csv", list(TRAINING))
    task = Task(name="sst2", source=Source(folder="glue"))
    texts = prepare_text(task, tmp_path / "glue", tmp_path / "reviews")
    assert texts.training["text"].tolist() == [t for t, kind in TRAINING.items() if kind == "kept"]
    assert texts.training["label"].tolist() == [i % 2 for i, k in enumerate(TRAINING.values()) if k == "kept"]
    assert not set(map(letters, texts.training["text"])) & set(map(letters, VALIDATION))
    assert texts.notes == {
        "training": 3,
        "evaluation": 3,
        "broken": 0,
        "overlap_equal": 3,
        "overlap_around": 2,
        "overlap_within": 1,
    }


def test_a_pair_overlaps_in_either_order():
    pair = ["The quick brown fox jumps over it.", "A lazy dog was jumped over by foxes."]
    evaluation = pd.DataFrame({"text": pair[:1], "pair": pair[1:], "label": [1]})
    others = [
        pair,
        pair[::-1],
        ["So it was: " + pair[1], pair[0]],
        [pair[0], "No dog was there."],
        pair[:1] * 2,
    ]
    training = pd.DataFrame(others, columns=["text", "pair"]).assign(label=0)
    left, counts = without_overlap(training, evaluation)
    assert left[["text", "pair"]].to_numpy().tolist() == others[3:]
    assert counts == {"equal": 2, "around": 1, "within": 0}
    alone = pd.DataFrame({"text": pair, "pair": [None] * 2, "label": 0})
    assert without_overlap(alone, alone)[1]["equal"] == 2


def test_training_split_of_the_task_itself_is_taken_as_it_is(tmp_path):
    write_rows(tmp_path / "validation.csv", VALIDATION)
    write_rows(tmp_path / "train.csv", list(TRAINING))
    texts = prepare_text(Task(name="sst2", source=Source(folder="glue")), tmp_path)
    assert len(texts.training) == len(TRAINING)


def test_nothing_left_to_learn_from(tmp_path):
    write_rows(tmp_path / "validation.csv", VALIDATION)
    with pytest.raises(InputError, match="all of it stands in the validation text"):
        prepare_text(Task(name="sst2", source=Source(folder="x")), tmp_path, tmp_path / "validation.csv")
