import json

import pandas as pd
import pytest
from small_text import small_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers

from softjet.errors import InputError
from softjet.language.tokenizers import load_tokenizer, save_tokenizer, train_bpe
from softjet.language.tokens import tokenise_examples

TEXTS = ["the cat sat on the mat", "the hat of the cat", "naïve — 2026"] * 5


def test_trained_tokenizer_is_saved_and_loaded_and_keeps_every_byte(tmp_path):
    trained = train_bpe(TEXTS, 280)
    save_tokenizer(tmp_path, trained)
    loaded = load_tokenizer(tmp_path, 280)
    text = "the cat — of 猫\n\n  two spaces"
    assert loaded(text).input_ids == trained(text).input_ids
    assert loaded.decode(loaded(text).input_ids) == text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tokenizer.json", "tokenizer_config.json"]
    assert loaded.eos_token == "<|endoftext|>"
    assert len(trained) == 280


def test_training_gives_the_same_for_the_same_texts(tmp_path):
    for name in ("a", "b"):
        save_tokenizer(tmp_path / name, train_bpe(iter(TEXTS), 280))
    assert (tmp_path / "a/tokenizer.json").read_bytes() == (tmp_path / "b/tokenizer.json").read_bytes()


def test_frequent_words_become_one_token():
    assert len(train_bpe(TEXTS, 280)(" the").input_ids) == 1


def test_too_few_tokens_for_bytes_is_one_line():
    with pytest.raises(InputError, match=r"vocab_size: is 256; .* at least 257"):
        train_bpe(TEXTS, 256)
    with pytest.raises(InputError, match=r"vocab_size: is 257; .* at least 258"):
        train_bpe(TEXTS, 257, padding=1)


def test_vocabulary_beyond_the_embedding_names_both_numbers(tmp_path):
    save_tokenizer(tmp_path, train_bpe(TEXTS, 280))
    with pytest.raises(InputError, match="has 280 tokens, the model's embedding 279 rows"):
        load_tokenizer(tmp_path, 279)


def test_vocabulary_and_merges_of_gpt2(tmp_path):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, "ab", "Ġab", "<|endoftext|>"]
    (tmp_path / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\nĠ ab\n")
    tokenizer = load_tokenizer(tmp_path, len(tokens))
    assert tokenizer.convert_ids_to_tokens(tokenizer("ab abb").input_ids) == ["ab", "Ġab", "b"]
    assert tokenizer.eos_token_id == tokenizer.pad_token_id == len(tokens) - 1


def words(folder, **settings):
    model = models.WordLevel({"[UNK]": 0, "[PAD]": 1, "a": 2}, unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def test_special_tokens_are_those_of_the_folder(tmp_path):
    words(tmp_path, pad_token={"content": "[PAD]"}, unk_token="[UNK]", tokenizer_class="BertTokenizer")
    batch = load_tokenizer(tmp_path)(["a", "a b"], padding=True)
    assert batch.input_ids == [[2, 1], [2, 0]]
    assert batch.token_type_ids == [[0, 0], [0, 0]]


def test_no_code_of_a_folder_is_run(tmp_path):
    words(
        tmp_path, auto_map={"AutoTokenizer": ["evil.Evil", None]}, tokenizer_class="Evil", pad_token="[PAD]"
    )
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert load_tokenizer(tmp_path)("a").input_ids == [2]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json"])
def test_damaged_or_absent_files_are_one_line(tmp_path, name):
    with pytest.raises(InputError, match=r"tokenizer\.json: is absent"):
        load_tokenizer(tmp_path)
    (tmp_path / name).write_text("{")
    with pytest.raises(InputError, match=r"cannot be read|is damaged") as caught:
        load_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_long_text_keeps_its_beginning_whatever_the_file_says(tmp_path):
    """The beginning is what is tokenised: the end of that would be the middle of the text."""
    small_tokenizer().save_pretrained(tmp_path)
    said = json.loads((tmp_path / "tokenizer.json").read_text())
    said["truncation"] = {"direction": "Left", "max_length": 6, "strategy": "LongestFirst", "stride": 0}
    (tmp_path / "tokenizer.json").write_text(json.dumps(said))
    tokenizer = load_tokenizer(tmp_path)
    table = pd.DataFrame({"text": ["a b c d e f g h i j"], "pair": [None]})
    found = tokenise_examples(table, tokenizer, 6).tokens.tolist()
    assert tokenizer.convert_ids_to_tokens(found) == ["[CLS]", "a", "b", "c", "d", "[SEP]"]
