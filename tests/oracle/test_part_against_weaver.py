"""ParticleTransformer against weaver-core's, with the same weights."""

import logging

import pytest
import torch

from softjet.config.part import N_FEATURES, ParTModel
from softjet.part.model import ParticleTransformer
from softjet.part.pairs import dense_pair_features
from softjet.part.weaver import export_weaver, import_weaver, weaver_shape

logging.getLogger("weaver").setLevel(logging.ERROR)
weaver = pytest.importorskip("weaver.nn.model.ParticleTransformer")

REALISTIC = (42, 1, 68, 29, 35, 58)
"""Particles a jet: a mean of 39, as in JetClass."""
EXTREME = (128, 1)

SETS = {"kin": ("kin", 10), "kinpid": ("kinpid", 10), "full": ("full", 10), "Top": ("kin", 2)}
PARAMETERS = {"kin": 2_142_166, "kinpid": 2_142_958, "full": 2_143_486, "Top": 2_141_134}

CLOSE = 1e-9


def jets(lengths, n_features: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Jets of such lengths, pT falling; the padding holds rubbish that no answer may depend on."""
    generator = torch.Generator().manual_seed(seed)
    n, longest = len(lengths), max(lengths)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    pt = (1 + 1.5 * normal(n, longest)).exp().sort(descending=True).values
    eta, phi = 0.5 + 0.2 * normal(n, longest), 3 + 0.2 * normal(n, longest)
    mass = 0.14 * normal(n, longest).abs()
    px, py, pz = pt * phi.cos(), pt * phi.sin(), pt * eta.sinh()
    vectors = torch.stack((px, py, pz, (px**2 + py**2 + pz**2 + mass**2).sqrt()), dim=1)
    mask = torch.arange(longest)[None, None] < torch.tensor(lengths)[:, None, None]
    return normal(n, n_features, longest), vectors, mask


def oracle(config: ParTModel) -> torch.nn.Module:
    block = dict.fromkeys(("dropout", "attn_dropout", "activation_dropout"), 0.0)
    model = weaver.ParticleTransformer(
        N_FEATURES[config.features], config.classes, embed_dims=config.embed_dims,
        pair_embed_dims=config.pair_embed_dims, num_heads=config.heads, num_layers=config.blocks,
        num_cls_layers=config.class_blocks, use_pre_activation_pair=False, block_params=block,
        fc_params=[], trim=False, version=1,
    )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.copy_(0.5 + torch.rand_like(buffer))
    return model


def pair_of_models(name: str) -> tuple[torch.nn.Module, ParticleTransformer]:
    """Weaver-core's model and ours, of the published shape in float64."""
    torch.manual_seed(3)
    features, classes = SETS[name]
    theirs = oracle(ParTModel(features=features, classes=classes)).double()
    ours = ParticleTransformer(weaver_shape(theirs.state_dict())).double()
    ours.load_state_dict(import_weaver(theirs.state_dict()))
    return theirs, ours


def logits_and_gradients(model, batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    logits = model(*batch)
    labels = torch.arange(len(logits)) % logits.shape[1]
    torch.nn.functional.cross_entropy(logits, labels).backward()
    return logits.detach(), {name: parameter.grad for name, parameter in model.named_parameters()}


def joined(gradients: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([gradients[name].flatten() for name in sorted(gradients)])


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Distance in units of the expected norm."""
    return ((found - expected).norm() / expected.norm().clamp(min=1e-30)).item()


def compare(theirs, ours, batch, within: float) -> None:
    """Compare logits, every gradient and, after a pass in training, the BatchNorm statistics."""
    expected, their_gradients = logits_and_gradients(theirs, batch)
    logits, gradients = logits_and_gradients(ours, batch)
    assert expected.std() > 0.1
    assert distance(logits, expected) < within
    named = import_weaver({**theirs.state_dict(), **their_gradients})
    assert distance(joined(gradients), joined({name: named[name] for name in gradients})) < within
    statistics = import_weaver(theirs.state_dict())
    for name, value in ours.named_buffers():
        assert distance(value.double(), statistics[name].double()) < within, name


@pytest.fixture(scope="module", params=SETS)
def models(request):
    theirs, ours = pair_of_models(request.param)
    assert sum(parameter.numel() for parameter in ours.parameters()) == PARAMETERS[request.param]
    return theirs, ours


@pytest.mark.parametrize("lengths", [REALISTIC, EXTREME], ids=["realistic", "extreme"])
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_logits_gradients_and_statistics_equal(models, training, lengths):
    theirs, ours = (model.train(training) for model in models)
    compare(theirs, ours, jets(lengths, N_FEATURES[ours.config.features]), CLOSE)


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("name", SETS)
def test_equal_in_float32_with_the_same_pair_features(monkeypatch, name, training):
    theirs, ours = (model.float().train(training) for model in pair_of_models(name))
    features, vectors, mask = jets(REALISTIC, N_FEATURES[ours.config.features])
    monkeypatch.setattr(
        theirs.pair_embed,
        "pairwise_lv_fts",
        lambda first, second: dense_pair_features(first.squeeze(-1)).permute(0, 3, 1, 2),
    )
    compare(theirs, ours, (features.float(), vectors.float(), mask), 1e-5)


def test_export_loads_into_their_class_and_gives_the_same_logits():
    torch.manual_seed(5)
    config = ParTModel(blocks=2, normalisation="published")
    ours = ParticleTransformer(config).double().eval()
    theirs = oracle(config).double().eval()
    with torch.no_grad():
        for block in (*ours.blocks, *ours.class_blocks):
            block.head_scale.uniform_(0.5, 1.5)
    theirs.load_state_dict(export_weaver(ours), strict=True)
    batch = jets((30, 1, 12), 17)
    with torch.no_grad():
        assert distance(ours(*batch), theirs(*batch)) < CLOSE


def test_initial_weights_have_the_same_spread():
    torch.manual_seed(0)
    config = ParTModel()
    theirs = weaver.ParticleTransformer(17, 10, fc_params=[], use_pre_activation_pair=False, version=1)
    expected = import_weaver(theirs.state_dict())
    for name, value in ParticleTransformer(config).state_dict().items():
        if value.numel() > 1000:
            torch.testing.assert_close(value.std(), expected[name].std(), rtol=0.05, atol=0)
