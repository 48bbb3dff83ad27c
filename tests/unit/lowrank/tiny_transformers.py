"""Tiny transformers of random weights, one of each family of language models."""

from functools import cache

import torch

VOCABULARY = 96
CAUSAL = ("gpt2", "llama", "mamba")


def tiny(family, seed=0):
    """Dense model in evaluation mode; its weights are not so small that a wrong layer would not show."""
    torch.manual_seed(seed)
    model = _classes()[family](_settings()[family]).eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and "A_log" not in name and "conv1d" not in name:
            torch.nn.init.normal_(parameter.data, std=parameter.shape[-1] ** -0.5)
    return model


def tokens(length=9, seed=1):
    return torch.randint(3, VOCABULARY, (2, length), generator=torch.Generator().manual_seed(seed))


def logits(model, ids=None):
    with torch.no_grad():
        return model(input_ids=tokens() if ids is None else ids).logits


@cache
def _classes():
    import transformers as t

    return {
        "bert": t.BertForSequenceClassification,
        "mpnet": t.MPNetForSequenceClassification,
        "gpt2": t.GPT2LMHeadModel,
        "llama": t.LlamaForCausalLM,
        "mamba": t.MambaForCausalLM,
    }


def _settings():
    import transformers as t

    encoder = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 40,
        "pad_token_id": 1,
    }
    return {
        "bert": t.BertConfig(**encoder),
        "mpnet": t.MPNetConfig(**encoder),
        "gpt2": t.GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=40,
            n_embd=32,
            n_layer=2,
            n_head=4,
            bos_token_id=0,
            eos_token_id=1,
        ),
        "llama": t.LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=40,
        ),
        "mamba": t.MambaConfig(vocab_size=VOCABULARY, hidden_size=32, state_size=4, num_hidden_layers=2,
                               intermediate_size=64, time_step_rank=8),
    }  # fmt: skip
