import importlib
import subprocess
import sys

import pytest

NAMES = {
    "softjet.jets": ["read_jetclass", "model_inputs", "JetLoader"],
    "softjet.jets.substructure": [
        "nsubjettiness",
        "energy_correlators",
        "soft_drop_mass",
        "exclusive_subjets",
        "merge_partners",
    ],
    "softjet.part": ["ParticleTransformer", "predict", "load_part", "import_weaver"],
    "softjet.attention": ["record", "with_top_k"],
    "softjet.lowrank": [
        "soft_threshold",
        "SoftThresholdLinear",
        "learn_ranks",
        "fuse",
        "load_compressed",
        "parameter_counts",
    ],
    "softjet.language": ["resolve", "load_model", "build_model", "load_tokenizer", "prepare_text", "tune"],
    "softjet.latency": ["measure_pair"],
}


@pytest.mark.parametrize(("module", "name"), [(m, n) for m, names in NAMES.items() for n in names])
def test_public_name_is_offered_and_is_no_module(module, name):
    assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize("module", list(NAMES))
def test_importing_a_room_brings_no_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
