"""Batches: a function of the step, padding that is little, every token scored at most once."""

from itertools import islice, pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from small_text import CLS, PAD, SEP, WORDS, small_bert, small_tokenizer
from tokenizers import normalizers, pre_tokenizers, processors

from softjet.config.language import Source, Task
from softjet.errors import InputError
from softjet.language import tokens as tokens_module
from softjet.language.batch import NOT_SCORED
from softjet.language.batches import ClassificationLoader, TextLoader, loader_of
from softjet.language.evaluate import examples_table
from softjet.language.tokenizers import train_bpe


def sentences(n=300, pair=False):
    generator = np.random.default_rng(3)
    texts = [" ".join(generator.choice(list("abcdefg"), generator.integers(1, 20))) for _ in range(n)]
    return pd.DataFrame({"text": texts, "pair": texts[::-1] if pair else None, "label": np.arange(n) % 3})


def same(left, right):
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True) if a is not None)


def classifier(table=None, **changes):
    given = {"batch_size": 8, "seed": 1, "length": 16} | changes
    return ClassificationLoader(sentences() if table is None else table, small_tokenizer(), **given)


def text(n=101, **changes):
    table = pd.DataFrame({"text": [" ".join(chr(97 + i % 26) for i in range(n))]})
    given = {"batch_size": 2, "seed": 1, "length": 10} | changes
    return TextLoader(table, small_tokenizer(pairs=False), **given)


@pytest.mark.parametrize("loader", [classifier, text])
@pytest.mark.parametrize("step", [1, 37, 40])
def test_batches_are_a_function_of_the_step_alone(loader, step):
    whole = list(islice(loader().training(), 80))
    assert all(map(same, islice(loader().training(step), 40), whole[step:]))


@pytest.mark.parametrize("loader", [classifier, text])
def test_each_epoch_and_seed_has_its_own_order(loader):
    steps = loader().steps_per_epoch
    first, second = (list(islice(loader().training(e * steps), steps)) for e in (0, 1))
    other = islice(loader(seed=2).training(), steps)
    assert not all(map(same, first, second))
    assert not all(map(same, first, other))


def test_an_epoch_holds_no_example_twice_and_its_batches_little_padding():
    loader = classifier()
    batches = list(islice(loader.training(), loader.steps_per_epoch))
    rows = torch.cat([batch.rows for batch in batches])
    assert len(rows) == 296
    assert len(set(rows.tolist())) == 296
    real = sum(int(batch.attention_mask.sum()) for batch in batches)
    assert real / sum(batch.input_ids.numel() for batch in batches) > 0.95
    lengths = [batch.input_ids.shape[1] for batch in batches]
    assert lengths != sorted(lengths)


def test_batch_holds_tokens_labels_and_rows_of_its_examples():
    table = sentences()
    for batch in islice(classifier(table).training(), 5):
        for row, ids, mask, label in zip(*(batch[i] for i in (3, 0, 1, 2)), strict=True):
            words = [CLS, *[ord(w) - 97 + 4 for w in table["text"][int(row)].split()][:14], SEP]
            assert ids[mask == 1].tolist() == words
            assert (ids[mask == 0] == PAD).all()
            assert mask.tolist() == sorted(mask.tolist(), reverse=True)
            assert label == table["label"][int(row)]
        assert batch.token_type_ids is None


def test_pairs_say_which_sentence_a_token_is_of():
    table = pd.DataFrame({"text": ["a b", "a"], "pair": ["c", "c d e"], "label": [0, 1]})
    batch = next(classifier(table, batch_size=2).evaluation())
    types = dict(zip(batch.rows.tolist(), batch.token_type_ids.tolist(), strict=True))
    assert types == {0: [0, 0, 0, 0, 1, 1, 0], 1: [0, 0, 0, 1, 1, 1, 1]}


@pytest.mark.parametrize("most", [None, 11])
def test_evaluation_has_every_example_once(most):
    rows = torch.cat([batch.rows for batch in classifier(most=most).evaluation()])
    assert sorted(rows.tolist()) == list(range(most or 300))
    assert classifier(most=most).evaluated == (most or 300)


def test_many_calls_of_the_tokenizer_give_the_tokens_of_one(monkeypatch):
    whole = list(classifier(sentences(pair=True)).evaluation())
    monkeypatch.setattr(tokens_module, "EXAMPLES_A_CALL", 7)
    assert all(map(same, classifier(sentences(pair=True)).evaluation(), whole))
    lines = pd.DataFrame({"text": ["a b c\n", "", "d e\n", "f g h i\n"] * 5})
    given = (small_tokenizer(False), 2, 1, 10)
    expected = list(TextLoader(lines, *given).evaluation())
    assert sum(int(batch.attention_mask.sum()) for batch in expected) == 45
    monkeypatch.setattr(tokens_module, "CHARACTERS_A_CALL", 9)
    assert all(map(same, TextLoader(lines, *given).evaluation(), expected))


def test_text_is_joined_and_begun_as_in_the_guide_to_perplexity(monkeypatch):
    texts, usual = [], small_tokenizer()

    def watching(text, **given):
        if text != "a":  # by which special tokens are found
            texts.append(text)
        return usual(text, **given)

    lines = ["", " a b \n", "", " c \n"]
    tokens = tokens_module.tokenise_text(lines, watching)
    assert texts == ["\n\n".join(lines)]
    monkeypatch.setattr(tokens_module, "CHARACTERS_A_CALL", 4)
    pieces = tokens_module.tokenise_text(lines, watching)
    assert len(texts) > 2
    assert "".join(texts[1:]) == texts[0]
    assert [list(pieces).count(CLS), list(tokens).count(CLS), pieces[0]] == [1, 1, CLS]
    assert pieces.tolist() == tokens.tolist() == [CLS, 4, 5, 6]
    assert SEP not in tokens


@pytest.mark.parametrize("around", ["$A", "$A [SEP]", "[CLS] [CLS] $A", "[CLS] $A [SEP] [CLS]"])
def test_special_tokens_stand_before_a_text_alone_however_long_it_is(monkeypatch, around):
    tokenizer = small_tokenizer(pairs=False)
    tokenizer._tokenizer.post_processor = processors.TemplateProcessing(
        single=around, special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    lines, before = [f" {letter} b\n" for letter in "abcdefgh"], around.split("$A")[0].count("CLS")
    whole = tokens_module.tokenise_text(lines, tokenizer).tolist()
    assert whole == [CLS] * before + tokenizer("".join(lines), add_special_tokens=False).input_ids
    monkeypatch.setattr(tokens_module, "CHARACTERS_A_CALL", 12)
    assert tokens_module.tokenise_text(lines, tokenizer).tolist() == whole


@pytest.mark.parametrize(("stride", "length", "n"), [(10, 10, 101), (4, 10, 101), (3, 8, 29), (10, 10, 7)])
def test_each_token_is_scored_at_most_once_from_as_much_context_as_there_is(stride, length, n):
    times, contexts, position = np.zeros(n, int), np.zeros(n, int), 0
    for batch in text(n, stride=stride, length=length).evaluation():
        for ids, mask, labels in zip(batch.input_ids, batch.attention_mask, batch.labels, strict=True):
            start = position * stride
            position += 1
            for place in range(1, int(mask.sum())):
                assert ids[place] == (start + place) % 26 + 4
                if labels[place] != NOT_SCORED:
                    assert labels[place] == ids[place]
                    times[start + place] += 1
                    contexts[start + place] = place
            assert (labels[mask == 0] == NOT_SCORED).all()
    assert position == text(n, stride=stride, length=length).evaluated
    never = np.arange(0, n, length) if stride == length else [0]
    assert np.flatnonzero(times == 0).tolist() == list(never)
    assert times.max() == 1
    if stride < length:
        assert contexts[length:].min() >= length - stride


@pytest.mark.parametrize(("stride", "n", "windows"), [(10, 101, 10), (10, 102, 11), (5, 11, 2), (10, 11, 1)])
def test_a_last_window_that_scores_nothing_is_left_out(stride, n, windows):
    loader = text(n, stride=stride)
    assert loader.evaluated == windows
    scored = [int((labels[1:] != NOT_SCORED).sum()) for b in loader.evaluation() for labels in b.labels]
    assert len(scored) == windows
    assert min(scored) > 0


@pytest.mark.parametrize("n", [10, 19, 101])
def test_training_windows_are_whole_and_begin_elsewhere_each_epoch(n):
    loader = text(n)
    firsts = set()
    for batch in islice(loader.training(), 40):
        assert batch.input_ids.shape[1] == 10
        assert torch.equal(batch.labels, batch.input_ids)
        assert ((batch.input_ids.diff(dim=1)) % 26 == 1).all()
        firsts |= set((batch.input_ids[:, 0] - 4).tolist())
    assert len(firsts) == {10: 1, 19: 10, 101: 26}[n]


def test_text_without_tokens_is_refused():
    with pytest.raises(InputError, match="holds 1 tokens"):
        text(1)


def test_loader_of_a_task():
    source = Source(folder="x")
    lines = pd.DataFrame({"text": ["a b c d e f g h i j k l m n o p q r s t u v w x y z"]})
    running = Task(name="wikitext2", source=source, length=8, stride=4, evaluate=3)
    loader = loader_of(running, lines, small_tokenizer(False), 2, 1)
    assert [b.input_ids.shape for b in loader.evaluation()] == [(2, 8), (1, 8)]
    loader = loader_of(
        Task(name="sst2", source=source, length=8, evaluate=3), sentences(), small_tokenizer(), 2, 1
    )
    assert [b.rows.tolist() for b in loader.evaluation()] != []
    assert loader.evaluated == 3
    assert max(b.input_ids.shape[1] for b in loader.evaluation()) <= 8


def test_words_that_cannot_count_are_not_tokenised():
    texts = ["", "  ", "a", " a  b\n\tc d ", "a\u00a0b c d e"]
    assert tokens_module.first_words(texts, 3) == ["", "  ", "a", " a  b\n\tc", "a\u00a0b c"]
    table = pd.DataFrame({"text": [" ".join("abcdefg" * 9)] * 2, "pair": [None, None], "label": [0, 1]})
    paired = table.assign(pair=[" ".join("gfedcba" * 9), "a"])
    for rows, length in ((table, 11), (paired, 12)):
        cut = tokens_module.tokenise_examples(rows, small_tokenizer(pair := rows is paired), length)
        whole = small_tokenizer(pair)(
            rows["text"].tolist(), rows["pair"].tolist() if pair else None, truncation=True, max_length=length
        )
        assert cut.tokens.tolist() == [token for ids in whole["input_ids"] for token in ids]


@pytest.mark.parametrize("paired", [False, True])
def test_an_empty_text_is_an_end_of_text_and_changes_no_other(paired):
    tokenizer = train_bpe(["a fine film", "a dull one"] * 3, 280)
    texts = ["", "a fine film", "", " ", "dull"]
    table = pd.DataFrame({"text": texts, "pair": ["", "one", "film", "", ""] if paired else None, "label": 0})
    found = tokens_module.tokenise_examples(table, tokenizer, 16)
    rows = [tuple(filter(None, row)) for row in zip(texts, table["pair"], strict=True)]
    alone = [tokenizer(*row).input_ids for row in rows if row]
    ids = [found.tokens[first:last].tolist() for first, last in pairwise(found.ends)]
    assert [i for i in ids if i != [tokenizer.eos_token_id]] == alone
    assert ids.count([tokenizer.eos_token_id]) == len(texts) - len(alone) > 0
    assert found.types is None or len(found.types) == len(found.tokens)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_texts_that_are_empty_are_evaluated_as_any(batch_size):
    table = pd.DataFrame({"text": ["", "a b c", ""], "pair": None, "label": [0, 1, 1]})
    loader = ClassificationLoader(table, small_tokenizer(pairs=False), batch_size, 1, 16)
    found = examples_table(small_bert(), loader)
    assert np.isfinite(found["logit_0"]).all()
    assert found["logit_0"][0] == pytest.approx(found["logit_0"][2], abs=1e-6)


@pytest.mark.parametrize("unseen", ["\u200b", "\u00ad\ufeff", "\x00", "\x07 \x1f", "\ufffd"])
def test_words_that_the_tokenizer_takes_out_do_not_count(unseen):
    tokenizer = bert_tokenizer()
    table = pd.DataFrame({"text": [f"{unseen} " * 20 + "a b c", "a\x1f" * 20 + " b c"], "pair": None})
    found = tokens_module.tokenise_examples(table, tokenizer, 8)
    whole = tokenizer(table["text"].tolist(), truncation=True, max_length=8)["input_ids"]
    assert found.tokens.tolist() == [token for ids in whole for token in ids]
    assert whole[0] == [CLS, *(WORDS.index(letter) for letter in "abc"), SEP]


def bert_tokenizer():
    """A word is a letter, and what is not seen is taken out first, as BERT has it."""
    tokenizer = small_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer
