"""What is special to a model family: which matrices get a rank, where its blocks are, what a graph may be."""

from collections.abc import Mapping

from softjet.config.lowrank import Matrices, Selection


def _within(
    stack: str, *paths: str, packed: Mapping[str, tuple[str, ...]] | None = None
) -> tuple[Matrices, ...]:
    """Layers of every block of a stack; `packed` names those that hold several matrices."""
    names = packed or {}
    return tuple(Matrices(path=f"{stack}.*.{path}", pieces=names.get(path, ())) for path in paths)


def _shared(stack: str, *groups: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Layers of every block of a stack that have the same inputs."""
    return tuple(tuple(f"{stack}.*.{path}" for path in group) for group in groups)


_PART_LAYERS = ("attention.in_proj", "attention.out_proj", "expand", "contract")
_PART_PACKED = {"attention.in_proj": ("query", "key", "value")}

FAMILIES = {
    "part": Selection(
        matrices=_within("blocks", *_PART_LAYERS, packed=_PART_PACKED)
        + _within("class_blocks", *_PART_LAYERS, packed=_PART_PACKED),
        blocks=("blocks", "class_blocks"),
    ),
    "bert": Selection(
        matrices=_within(
            "bert.encoder.layer",
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
            "attention.output.dense",
            "intermediate.dense",
            "output.dense",
        ),
        blocks=("bert.encoder.layer",),
        shared=_shared(
            "bert.encoder.layer", ("attention.self.query", "attention.self.key", "attention.self.value")
        ),
        embeddings=("bert.embeddings.word_embeddings",),
    ),
    "mpnet": Selection(
        matrices=_within(
            "mpnet.encoder.layer",
            "attention.attn.q",
            "attention.attn.k",
            "attention.attn.v",
            "attention.attn.o",
            "intermediate.dense",
            "output.dense",
        ),
        blocks=("mpnet.encoder.layer",),
        shared=_shared("mpnet.encoder.layer", ("attention.attn.q", "attention.attn.k", "attention.attn.v")),
        embeddings=("mpnet.embeddings.word_embeddings",),
    ),
    "gpt2": Selection(
        matrices=_within(
            "transformer.h",
            "attn.c_attn",
            "attn.c_proj",
            "mlp.c_fc",
            "mlp.c_proj",
            packed={"attn.c_attn": ("query", "key", "value")},
        ),
        blocks=("transformer.h",),
        embeddings=("transformer.wte",),
    ),
    "llama": Selection(
        matrices=_within(
            "model.layers",
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.o_proj",
            "mlp.gate_proj",
            "mlp.up_proj",
            "mlp.down_proj",
        ),
        blocks=("model.layers",),
        shared=_shared(
            "model.layers",
            ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            ("mlp.gate_proj", "mlp.up_proj"),
        ),
        embeddings=("model.embed_tokens",),
    ),
    "mamba": Selection(
        matrices=_within(
            "backbone.layers",
            "mixer.in_proj",
            "mixer.x_proj",
            "mixer.dt_proj",
            "mixer.out_proj",
            packed={"mixer.in_proj": ("x", "z")},
        ),
        blocks=("backbone.layers",),
        embeddings=("backbone.embeddings",),
        one_length=True,
    ),
}
"""Selections by family.

Particle Transformer: the four linear layers of each block, query, key and value apart (60 matrices). Others
as transformers names their modules: BertForSequenceClassification, MPNetForSequenceClassification,
GPT2LMHeadModel, LlamaForCausalLM, MambaForCausalLM.
"""
