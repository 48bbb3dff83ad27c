"""Stacks of a few layers on random tokens."""

import torch

from softjet.language import stack

TINY = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}


def test_a_stack_gives_states_of_random_tokens_in_its_precision():
    model = stack.new_stack("bert", {**TINY, "vocab_size": 30}, "bfloat16")
    ids = stack.random_ids(model, 2, 7)
    assert ids.shape == (2, 7)
    assert ids.max() < 30
    with torch.inference_mode():
        hidden = stack.states(ids, model).last_hidden_state
    assert (hidden.shape, hidden.dtype) == ((2, 7, 8), torch.bfloat16)


def test_a_stack_is_made_and_run_once(monkeypatch):
    seen = []
    monkeypatch.setattr(stack, "states", lambda ids, model: seen.append((ids.shape, model.config.use_cache)))
    stack.run_stack("bert", {**TINY, "vocab_size": 30}, 3, 5)
    assert seen == [((3, 5), False)]
