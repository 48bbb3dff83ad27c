import numpy as np
import pytest
import torch
import vector

from softjet.config.part import ParTModel
from softjet.device import determinism
from softjet.part.blocks import Attention, _logits
from softjet.part.model import ParticleTransformer
from softjet.part.norm import BatchRenorm1d
from softjet.part.packing import group_size, padded_length
from softjet.part.pairs import pair_features, real_pairs

LOGITS = {"rtol": 0, "atol": 1e-9}


@pytest.fixture
def batch(jets):
    return jets.features.double(), jets.vectors.double(), jets.mask


@pytest.fixture
def model64(model):
    return model.double()


@pytest.mark.parametrize(
    ("features", "classes", "n"), [("full", 10, 2_143_486), ("kin", 10, 2_142_166), ("kin", 2, 2_141_134)]
)
def test_parameters_of_the_published_models(features, classes, n):
    model = ParticleTransformer(ParTModel(features=features, classes=classes))
    assert sum(parameter.numel() for parameter in model.parameters()) == n


def test_parameters_by_part():
    model = ParticleTransformer(ParTModel())
    split = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert split == {
        "embed": 135_364,
        "pair_embed": 9_568,
        "blocks": 1_597_504,
        "class_blocks": 399_376,
        "norm": 256,
        "head": 1_290,
    }


def test_pair_features_are_those_of_the_vector_library(batch):
    _, vectors, mask = batch
    jet, first, second = pairs = real_pairs(mask[:, 0])
    apart = (first != second).numpy()
    names = ("px", "py", "pz", "E")
    a, b = (
        vector.array(dict(zip(names, vectors[jet, :, place].T.numpy(), strict=True)))
        for place in (first, second)
    )
    delta = np.hypot(a.rapidity - b.rapidity, a.deltaphi(b))
    softer = np.minimum(a.pt, b.pt)
    expected = np.log(np.stack((softer * delta, softer / (a.pt + b.pt), delta, (a + b).mass2), axis=1)[apart])
    np.testing.assert_allclose(pair_features(vectors, pairs).numpy()[apart], expected, rtol=0, atol=1e-6)


def test_pair_features_know_that_phi_is_a_circle():
    phi = torch.tensor([3.1, -3.1], dtype=torch.float64)
    vectors = torch.stack((phi.cos(), phi.sin(), 0 * phi, 1 + 0 * phi))[None]
    delta = pair_features(vectors, real_pairs(torch.ones(1, 2, dtype=torch.bool)))[:, 2].exp()
    torch.testing.assert_close(delta[1].item(), 2 * np.pi - 6.2)


def test_pairs_are_each_unordered_pair_of_real_particles_once(jets):
    real = jets.mask[:, 0]
    pairs = real_pairs(real)
    assert len(set(zip(*(place.tolist() for place in pairs), strict=True))) == len(pairs.jet)
    assert (pairs.first >= pairs.second).all()
    assert torch.equal(pairs.jet.bincount(), (real.sum(1) * (real.sum(1) + 1) // 2))
    assert real[pairs.jet, pairs.first].all()


def test_bias_is_symmetric_and_zero_at_padding(model64, batch):
    _, vectors, mask = batch
    bias = model64.pair_bias(vectors, mask)
    assert torch.equal(bias, bias.mT)
    both = (mask[:, :, :, None] & mask[:, :, None, :]).expand_as(bias)
    assert (bias[~both] == 0).all()
    assert (bias[both] != 0).all()


def test_bias_depends_on_both_particles_of_a_pair_only(model64, batch):
    _, vectors, mask = batch
    moved = vectors.clone()
    moved[:, :, 0] *= 1.5
    changed = (model64.pair_bias(moved, mask) != model64.pair_bias(vectors, mask)).any(1)
    expected = torch.zeros_like(changed)
    expected[:, 0, :] = mask[:, 0]
    expected[:, :, 0] = mask[:, 0]
    expected[:, 0, 0] = changed[:, 0, 0]
    assert torch.equal(changed, expected)


def test_padding_changes_nothing(model64, batch):
    features, vectors, mask = batch
    expected = model64(*batch)
    longer = [torch.nn.functional.pad(tensor, (0, 5)) for tensor in batch]
    longer[0][~longer[2].expand_as(longer[0])] = 1e3
    longer[1][~longer[2].expand_as(longer[1])] = torch.nan
    torch.testing.assert_close(model64(*longer), expected, **LOGITS)
    alone = [model64(features[i : i + 1, :, :n], vectors[i : i + 1, :, :n], mask[i : i + 1, :, :n])
             for i, n in enumerate(mask.sum(-1).flatten().tolist())]  # fmt: skip
    torch.testing.assert_close(torch.cat(alone), expected, **LOGITS)


def packed_and_padded(model, inputs):
    """Logits and gradients in training, and those of the same weights where all jets are padded."""
    features, vectors, mask = inputs
    real = mask.squeeze(1)
    padded = model.head(model.aggregate(model.embed(features, real), real, model.pair_bias(vectors, mask)))
    for logits in (model(*inputs), padded):
        yield logits, torch.autograd.grad(logits.square().sum(), list(model.parameters()))


def as_on_a_gpu(monkeypatch):
    monkeypatch.setattr("softjet.part.packing.group_size", lambda jets, _: group_size(jets, "cuda"))
    monkeypatch.setattr("softjet.part.packing.padded_length", lambda most, _: padded_length(most, "cuda"))

    def fused(attention, q, *rest):
        assert q.shape[2] % 8 == 0
        return Attention._fused(attention, q, *rest)

    monkeypatch.setattr(Attention, "_written_out", fused)


@pytest.mark.parametrize("size", [1, 2, 32, "a GPU's"])
def test_training_without_padding_is_the_same_function(model64, batch, size, monkeypatch):
    if size == "a GPU's":
        as_on_a_gpu(monkeypatch)
    else:
        monkeypatch.setattr("softjet.part.packing.GROUP", size)
    for module in model64.modules():  # the running averages stand where they are
        if isinstance(module, BatchRenorm1d):
            monkeypatch.setattr(module, "_follow", lambda *_, m=module: (m.running_mean, m.running_var))
    (packed, gradients), (padded, expected) = packed_and_padded(model64.train(), batch)
    torch.testing.assert_close(packed, padded, **LOGITS)
    for found, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-8)


def test_layers_see_no_padding_in_training_and_attention_that_of_its_group(model64, batch, monkeypatch):
    monkeypatch.setattr("softjet.part.packing.GROUP", 2)
    rows, shapes, attention = [], [], model64.blocks[0].attention
    model64.blocks[0].expand.register_forward_pre_hook(lambda _, inputs: rows.append(inputs[0].shape[0]))
    monkeypatch.setattr(attention, "edit", lambda weights: shapes.append(weights.shape) or weights)
    model64.train()(*batch)
    lengths = batch[2].sum(-1).flatten().tolist()
    groups = [lengths[i : i + 2] for i in range(0, len(lengths), 2)]
    assert rows == [sum(lengths)]
    assert shapes == [(len(group), attention.heads, max(group), max(group)) for group in groups]


def test_a_gpu_gets_one_group_of_aligned_length():
    assert [group_size(jets, "cpu") for jets in (20, 512)] == [32, 32]
    assert [group_size(jets, "cuda") for jets in (20, 512)] == [20, 512]
    assert [padded_length(most, "cpu") for most in (1, 8, 127)] == [1, 8, 127]
    assert [padded_length(most, "cuda") for most in (1, 8, 127)] == [8, 8, 128]


def test_attention_is_not_fused_where_weights_are_edited_or_bits_count(model64):
    attention = model64.blocks[0].attention
    assert attention._may_fuse()
    with determinism(True):
        assert not attention._may_fuse()
    attention.edit = torch.relu
    assert not attention._may_fuse()


def test_fused_attention_drops_weights_in_training_alone(model64, batch, monkeypatch):
    as_on_a_gpu(monkeypatch)
    attention = model64.blocks[0].attention
    monkeypatch.setattr(attention, "dropout", 0.5)
    q, k, v = torch.randn(3, 2, 8, 5, 16, dtype=torch.float64)
    bias = torch.randn(2, 8, 5, 5, dtype=torch.float64)
    attention.eval()
    expected = attention._fused(q, k, v, bias)
    torch.testing.assert_close(expected, attention.mix(_logits(q, k, bias), v), **LOGITS)
    attention.train()
    assert not torch.allclose(attention._fused(q, k, v, bias), expected)


def test_dropout_is_in_the_particle_blocks_only():
    model = ParticleTransformer(ParTModel(dropout=0.2))
    for blocks, rate in ((model.blocks, 0.2), (model.class_blocks, 0)):
        assert {block.dropout.p for block in blocks} == {rate}
        assert {block.attention.dropout for block in blocks} == {rate}


def test_padding_stays_out_of_the_statistics(model64, batch):
    features, vectors, mask = batch
    model64.train()
    for module in model64.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.reset_running_stats()
    longer = [torch.nn.functional.pad(tensor, (0, 5), value=7.0 * (tensor is features)) for tensor in batch]
    model64(*longer)
    rows = features.transpose(1, 2)[mask[:, 0]]
    torch.testing.assert_close(model64.embed.norm.running_mean, rows.mean(0))
    pairs = pair_features(vectors, real_pairs(mask[:, 0]))
    torch.testing.assert_close(model64.pair_embed[0].running_mean, pairs.mean(0))


def test_order_of_particles_does_not_matter(model64, batch):
    order = torch.randperm(batch[0].shape[-1], generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(model64(*(tensor[..., order] for tensor in batch)), model64(*batch), **LOGITS)


def test_rotation_about_the_beam_changes_no_bias(model64, batch):
    _, vectors, mask = batch
    turned = vectors.clone()
    cos, sin = np.cos(2.0), np.sin(2.0)
    turned[:, 0], turned[:, 1] = (
        cos * vectors[:, 0] - sin * vectors[:, 1],
        sin * vectors[:, 0] + cos * vectors[:, 1],
    )
    torch.testing.assert_close(
        model64.pair_bias(turned, mask), model64.pair_bias(vectors, mask), rtol=0, atol=1e-4
    )


def test_attention_equals_softmax_of_scaled_products(model64, batch):
    attention = model64.blocks[0].attention
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(4, 6, 16, generator=generator, dtype=torch.float64)
    bias = torch.randn(4, 2, 6, 6, generator=generator, dtype=torch.float64)
    real = torch.arange(6)[None] < torch.tensor([6, 3, 1, 5])[:, None]
    q, k, v = attention.project(x, x)
    logits = (q @ k.mT / 8**0.5 + bias).masked_fill(~real[:, None, None, :], -torch.inf)
    expected = attention.out_proj((logits.softmax(-1) @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, x, real, bias), expected, **LOGITS)
    other = torch.randn(4, 1, 16, generator=generator, dtype=torch.float64)
    logits = (attention.project(other, x)[0] @ k.mT / 8**0.5).masked_fill(~real[:, None, None, :], -torch.inf)
    expected = attention.out_proj((logits.softmax(-1) @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(other, x, real), expected, **LOGITS)


def test_mask_leaves_gradients_right(model64, jets):
    bias = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    x = torch.randn(1, 3, 16, dtype=torch.float64, requires_grad=True)
    real = torch.tensor([[True, True, False]])
    attention = model64.blocks[0].attention
    assert torch.autograd.gradcheck(lambda x, bias: attention(x, x, real, bias)[:, :2], (x, bias))


def test_head_scale_multiplies_each_head(model64, batch):
    """Widths (head, channel) in this order: weaver-core 0.4 and older meant another thing."""
    block = model64.blocks[0]
    captured = []
    block.branch_norm.register_forward_pre_hook(lambda _, inputs: captured.append(inputs[0]))
    model64(*batch)
    with torch.no_grad():
        block.head_scale.mul_(torch.tensor([2.0, 3.0]))
    model64(*batch)
    torch.testing.assert_close(captured[1][..., :8], 2 * captured[0][..., :8])
    torch.testing.assert_close(captured[1][..., 8:], 3 * captured[0][..., 8:])


def rows(n, mean, seed):
    return mean + torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_renormalised_rows_are_those_of_evaluation():
    norm = BatchRenorm1d(3).double()
    for mean in (1.0, 5.0, 3.0):
        found = norm(rows(50, mean, 0))
        torch.testing.assert_close(found, norm.eval()(rows(50, mean, 0)), **LOGITS)
        norm.train()


def test_running_averages_are_means_over_the_first_batches():
    norm = BatchRenorm1d(3).double()
    batches = [rows(20, mean, mean) for mean in (1, 5, 3)]
    for batch in batches:
        norm(batch)
    torch.testing.assert_close(norm.running_mean, torch.stack([b.mean(0) for b in batches]).mean(0), **LOGITS)
    torch.testing.assert_close(
        norm.running_var, torch.stack([b.var(0, correction=0) for b in batches]).mean(0), **LOGITS
    )


def test_gradients_of_renormalisation_are_those_of_batch_norm():
    """Up to the ratio of spreads: both remove what shifts or scales a whole batch."""
    norm, plain = BatchRenorm1d(3).double(), torch.nn.BatchNorm1d(3).double()
    norm(rows(50, 5.0, 1))
    x, y = rows(50, 1.0, 2).requires_grad_(), rows(50, 1.0, 2).requires_grad_()
    slopes = rows(50, 0.0, 3)
    (norm(x) * slopes).sum().backward()
    (plain(y) * slopes).sum().backward()
    ratio = (y.var(0, correction=0) + norm.eps).sqrt() / (norm.running_var + norm.eps).sqrt()
    torch.testing.assert_close(x.grad, y.grad * ratio.detach())
    torch.testing.assert_close(x.grad.sum(0), torch.zeros(3, dtype=torch.float64), **LOGITS)
    expected = (norm.eval()(x.detach()) * slopes).sum(0)
    torch.testing.assert_close(norm.weight.grad, expected)


def test_bfloat16_rows_have_statistics_in_float32():
    """As under autocast: whatever the rows' precision, the running averages keep theirs."""
    rows = torch.randn(300, 5) + 3
    norm = BatchRenorm1d(5).train()
    out = norm(rows.bfloat16())
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(norm.running_mean, rows.bfloat16().float().mean(0), rtol=1e-3, atol=0)
