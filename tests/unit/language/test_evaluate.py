"""What is said of each example: in the order of the file, padding without effect."""

import numpy as np
import pandas as pd
import pytest
import torch
from small_text import small_bert, small_gpt2, small_mamba, small_tokenizer

from softjet.language.batches import ClassificationLoader, TextLoader
from softjet.language.evaluate import examples_table


def test_sentences_come_in_the_order_of_the_file_as_if_alone():
    texts = ["a b c d e f g", "a", "b c d", "e f"] * 3
    table = pd.DataFrame({"text": texts, "pair": None, "label": np.arange(12) % 2})
    model, tokenizer = small_bert(), small_tokenizer()
    found = examples_table(model.train(), ClassificationLoader(table, tokenizer, 5, 1, 16))
    assert list(found.columns) == ["example", "label", "logit_0", "logit_1"]
    assert found["example"].tolist() == list(range(12))
    assert found["label"].tolist() == table["label"].tolist()
    with torch.no_grad():
        alone = [model(**tokenizer(text, return_tensors="pt")).logits[0] for text in texts]
    np.testing.assert_allclose(found[["logit_0", "logit_1"]], torch.stack(alone), atol=1e-6)


@pytest.mark.parametrize("make", [small_gpt2, small_mamba])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_windows_are_scored_as_the_guide_to_perplexity_says(make, batch_size):
    generator = np.random.default_rng(0)
    text = " ".join(generator.choice(list("abcdefg"), 47))
    model, tokenizer = make().eval(), small_tokenizer(False)
    loader = TextLoader(pd.DataFrame({"text": [text]}), tokenizer, batch_size, 1, 12, 5)
    found = examples_table(model, loader)
    expected, ids, end_before = [], tokenizer(text, return_tensors="pt").input_ids, 0
    for start in range(0, 47, 5):
        end = min(start + 12, 47)
        target = ids[:, start:end].clone()
        target[:, : start + target.shape[1] - (start + end - end_before)] = -100
        with torch.no_grad():
            loss = model(ids[:, start:end], labels=target).loss.item()
        tokens = int((target[0, 1:] != -100).sum())
        expected.append((tokens, loss * tokens))
        end_before = end
        if end == 47:
            break
    assert found["window"].tolist() == list(range(len(expected)))
    assert found["tokens"].tolist() == [tokens for tokens, _ in expected]
    assert found["tokens"].sum() == 46
    assert found["nll"].dtype == "float64"
    np.testing.assert_allclose(found["nll"], [nll for _, nll in expected], rtol=1e-5)
