"""ParticleTransformer against weaver-core's, with the same weights."""

import logging

import pytest
import torch

from softjet.config.part import N_FEATURES, ParTModel
from softjet.part.model import ParticleTransformer
from softjet.part.weaver import import_weaver

logging.getLogger("weaver").setLevel(logging.ERROR)
weaver = pytest.importorskip("weaver.nn.model.ParticleTransformer")


def jets(n: int, longest: int, n_features: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Random jets of different lengths; the padding holds rubbish that no answer may depend on."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    pt, eta, phi = (2 + normal(n, longest)).exp(), 0.3 * normal(n, longest), 3 + 0.3 * normal(n, longest)
    mass = normal(n, longest).abs()
    px, py, pz = pt * phi.cos(), pt * phi.sin(), pt * eta.sinh()
    vectors = torch.stack((px, py, pz, (px**2 + py**2 + pz**2 + mass**2).sqrt()), dim=1)
    lengths = torch.randint(1, longest + 1, (n,), generator=generator)
    lengths[0] = longest
    mask = torch.arange(longest)[None, None] < lengths[:, None, None]
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
    return model.double()


def pair_of_models(config: ParTModel) -> tuple[torch.nn.Module, ParticleTransformer]:
    torch.manual_seed(3)
    theirs = oracle(config)
    ours = ParticleTransformer(config).double()
    ours.load_state_dict(import_weaver(theirs.state_dict()))
    return theirs, ours


@pytest.mark.parametrize(("features", "classes"), [("full", 10), ("kin", 2)])
def test_logits_equal_in_evaluation(features, classes):
    config = ParTModel(features=features, classes=classes)
    theirs, ours = (model.eval() for model in pair_of_models(config))
    batch = jets(6, 19, N_FEATURES[features])
    with torch.no_grad():
        expected, logits = theirs(*batch), ours(*batch)
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-9)


def test_logits_gradients_and_statistics_equal_in_training():
    config = ParTModel(dropout=0, blocks=3, normalisation="published")
    theirs, ours = pair_of_models(config)
    batch = jets(8, 17, 17)
    expected, logits = theirs(*batch), ours(*batch)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-9)

    labels = torch.arange(8)
    for output in (expected, logits):
        torch.nn.functional.cross_entropy(output, labels).backward()
    gradients = import_weaver({name: p.grad for name, p in theirs.named_parameters()})
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(ours.state_dict(), import_weaver(theirs.state_dict()), rtol=0, atol=1e-9)


def test_initial_weights_have_the_same_spread():
    torch.manual_seed(0)
    config = ParTModel()
    theirs = weaver.ParticleTransformer(17, 10, fc_params=[], use_pre_activation_pair=False, version=1)
    expected = import_weaver(theirs.state_dict())
    for name, value in ParticleTransformer(config).state_dict().items():
        if value.numel() > 1000:
            torch.testing.assert_close(value.std(), expected[name].std(), rtol=0.05, atol=0)
