"""A small configuration of language models of every family, and text for it."""

import random

SAVED = {"save_every": 0.000001}
"""At every step, so that tests can kill one in between."""
TUNING = {"steps": 6, "batch_size": 4, "learning_rate": 0.01, **SAVED}
SIZES = {
    "bert": {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32},
    "gpt2": {"n_layer": 1, "n_embd": 16, "n_head": 2, "n_positions": 32},
    "llama": {
        "num_hidden_layers": 1,
        "hidden_size": 16,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 32,
    },
    "mamba": {"num_hidden_layers": 1, "hidden_size": 16, "state_size": 4},
}
LEARNING = {
    "of": "blocks",
    "learn_steps": 30,
    "recover_steps": 4,
    "batch_size": 4,
    "threshold_rate": 0.2,
    "learning_rate": 0.01,
    "rank_floor": 1,
    **SAVED,
}
SMALLEST = {"form": "pivot", "share_inputs": True}
"""What stores a given rank in the fewest numbers."""
METHODS = ("soft-threshold", "svd", "energy-svd", "whitened-svd", "learned-mask")


def config():
    language = {
        family: {
            "family": family,
            "task": "sst2" if family == "bert" else "wikitext2",
            "architecture": {**sizes, "vocab_size": 300},
            "weights": None,
            "tuning": TUNING,
            "note": "trained here",
        }
        for family, sizes in SIZES.items()
    }
    learning = dict.fromkeys(SIZES, LEARNING) | {"llama": LEARNING | SMALLEST}
    one, every = ([{"methods": list(m), "keeps": [0.5], "seeds": [1]}] for m in (METHODS[:1], METHODS))
    return {
        "datasets": None,
        "part": None,
        "tasks": {
            "sst2": {"source": {"folder": "glue", "package": None}, "training": None, "length": 16},
            "wikitext2": {"source": {"folder": "wikitext", "package": None}, "length": 16, "evaluate": 10},
        },
        "language": language | {"tinyllama": None},
        "compress": {
            family: {"base": family, "learning": own, "grids": every if family == "gpt2" else one}
            for family, own in learning.items()
        }
        | {"part": None, "tinyllama": None},
        "latency": {"batches": [1], "samples": 6},
    }


def write_text(folder):
    """Sentences whose feeling can be told from one word, and text without sense."""
    draw = random.Random(1)
    words = [f"{a}{b}" for a in "bdfgklmnprst" for b in ("a", "o", "ell")]
    (folder / "glue").mkdir()
    for split, n in (("train", 80), ("dev", 30)):
        rows = [(" ".join(draw.choices(words, k=6)), i % 2) for i in range(n)]
        lines = [f"{text} {('bad', 'good')[label]}\t{label}" for text, label in rows]
        (folder / "glue" / f"{split}.tsv").write_text("\n".join(["sentence\tlabel", *lines, ""]))
    (folder / "wikitext").mkdir()
    for split in ("train", "test"):
        lines = [" " + " ".join(draw.choices(words, k=30)) + " " for _ in range(60)]
        (folder / "wikitext" / f"wiki.{split}.raw").write_text("\n".join(lines) + "\n")
