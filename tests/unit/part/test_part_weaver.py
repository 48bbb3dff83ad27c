"""Weights of weaver-core: names, the old head scale, and files that are not what they should be."""

import io
import pickle
from urllib.error import URLError

import pytest
import torch
from small_part import SMALL
from torch.nn import functional

from softjet.config.part import Weights
from softjet.errors import InputError
from softjet.part.model import ParticleTransformer
from softjet.part.published import PUBLISHED, fetch_weights, import_part, read_checkpoint
from softjet.part.weaver import export_weaver, import_weaver, weaver_shape
from softjet.provenance.files import sha256


@pytest.fixture
def theirs(model):
    return export_weaver(model)


def old_names(state_dict):
    return {f"mod.{k.replace('in_proj.', 'in_proj_')}": value for k, value in state_dict.items()}


class OldScale(torch.nn.Module):
    """Output projection and head scale as weaver-core 0.4 and older applied them (sequence first)."""

    def __init__(self, projection, scale):
        super().__init__()
        self.projection, self.scale = projection, scale

    def forward(self, x):
        x = functional.linear(x.transpose(0, 1), *self.projection)
        steps, jets, width = x.shape
        heads = len(self.scale)
        x = x.view(steps, jets, heads, width // heads)
        return torch.einsum("tbhd,h->tbdh", x, self.scale).reshape(steps, jets, width).transpose(0, 1)


def in_the_old_form(model):
    """Let the model mean by its weights what weaver-core 0.4 meant."""
    for block in (*model.blocks, *model.class_blocks):
        projection = block.attention.out_proj
        block.attention.out_proj = OldScale((projection.weight, projection.bias), block.head_scale.detach())
        block.head_scale = torch.nn.Parameter(torch.ones_like(block.head_scale))
    return model


def test_round_trip_keeps_every_weight(model, theirs):
    ours = import_weaver(theirs)
    assert ours.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(ours[name], value), name
    assert all(value.is_contiguous() for value in theirs.values())


def test_older_names_mean_the_same(theirs):
    old, new = import_weaver(old_names(theirs)), import_weaver(theirs)
    assert old.keys() == new.keys()
    assert all(torch.equal(old[name], new[name]) for name in new)


def test_shape_is_read_off_the_weights(theirs):
    assert weaver_shape(old_names(theirs)) == SMALL.model_copy(update={"normalisation": "published"})


def test_old_head_scale_is_folded_exactly(model, jets):
    torch.manual_seed(4)
    model = model.double()
    with torch.no_grad():
        for block in (*model.blocks, *model.class_blocks):
            block.head_scale.copy_(0.5 + torch.rand(2))
    state_dict = old_names(export_weaver(model))
    folded = ParticleTransformer(weaver_shape(state_dict)).double().eval()
    batch = jets.features.double(), jets.vectors.double(), jets.mask
    folded.load_state_dict(import_weaver(state_dict, "2022"))
    found = folded(*batch)
    folded.load_state_dict(import_weaver(state_dict, "current"))
    expected = in_the_old_form(model)(*batch)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert (folded(*batch) - expected).abs().max() > 0.01


def drop(weights):
    del weights["blocks.1.fc1.weight"]


def drop_what_tells_the_shape(weights):
    del weights["blocks.0.c_attn"]


def add(weights):
    weights["blocks.0.attn.q_norm.weight"] = torch.zeros(8)


def reshape(weights):
    weights["blocks.1.fc1.weight"] = torch.zeros(64, 3)


def widen(weights):
    weights["embed.input_bn.weight"] = torch.zeros(8)


def odd_heads(weights):
    weights["blocks.0.c_attn"] = torch.zeros(3)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (drop, r"blocks.1.fc1.weight: is missing; expected with shape \(64, 16\)"),
        (drop_what_tells_the_shape, "blocks.0.c_attn: is missing"),
        (add, "blocks.0.attn.q_norm.weight: is no known weight"),
        (reshape, r"blocks.1.fc1.weight: has shape \(64, 3\), expected \(64, 16\)"),
        (widen, "embed.input_bn.weight: has 8 features"),
        (odd_heads, "blocks.0.c_attn: has 3 heads"),
    ],
)
@pytest.mark.parametrize("head_scale", ["2022", "current"])
def test_wrong_weights_are_named(theirs, change, named, head_scale):
    change(theirs)
    with pytest.raises(InputError, match=named):
        import_weaver(theirs, head_scale)


def test_unknown_head_scale_is_refused(theirs):
    with pytest.raises(InputError, match="2023"):
        import_weaver(theirs, "2023")


@pytest.mark.parametrize(
    "nest", [lambda weights: weights, lambda weights: {"epoch": 3, "state_dict": weights}]
)
def test_checkpoint_is_imported_with_or_without_nesting(tmp_path, model, theirs, jets, nest):
    path = tmp_path / "mine.pt"
    torch.save(nest(old_names(theirs)), path)
    imported = import_part(path, Weights(name="mine", head_scale="current"))
    assert not imported.training
    batch = jets.features, jets.vectors, jets.mask
    assert torch.equal(imported(*batch), model(*batch))


def test_what_weights_do_not_tell_is_given(tmp_path, theirs):
    path = tmp_path / "mine.pt"
    torch.save(theirs, path)
    given = SMALL.model_copy(
        update={"features": "full", "pair_mass": "stable", "max_particles": 50, "blocks": 7}
    )
    shape = import_part(path, Weights(head_scale="current"), given).config
    assert (shape.features, shape.blocks, shape.pair_mass, shape.max_particles) == ("kin", 2, "stable", 50)


def test_feature_sets_of_equal_size_are_told_apart_by_the_configuration(tmp_path):
    path = tmp_path / "mine.pt"
    config = SMALL.model_copy(update={"features": "kinpid"})
    torch.save(export_weaver(ParticleTransformer(config)), path)
    assert import_part(path, Weights()).config.features == "kinpid"
    plus = config.model_copy(update={"features": "kinpidplus"})
    assert import_part(path, Weights(), plus).config.features == "kinpidplus"


def test_digest_is_enforced(tmp_path, theirs):
    path = tmp_path / "mine.pt"
    torch.save(theirs, path)
    import_part(path, Weights(sha256=sha256(path)))
    with pytest.raises(InputError, match="not 0000"):
        import_part(path, Weights(sha256=64 * "0"))


class Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return exec, (f"open({str(self.target)!r}, 'w').close()",)


@pytest.mark.parametrize("save", [torch.save, lambda what, path: path.write_bytes(pickle.dumps(what, 2))])
def test_pickle_that_executes_is_refused(tmp_path, theirs, save):
    path, harm = tmp_path / "evil.pt", tmp_path / "harm"
    save({**theirs, "more": Malicious(harm)}, path)
    with pytest.raises(InputError, match=r"evil.pt: pickle: holds objects other than tensors") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert not harm.exists()


def test_unreadable_checkpoints_are_named(tmp_path, theirs):
    path = tmp_path / "some.pt"
    with pytest.raises(InputError, match=r"some.pt: file: cannot be read"):
        read_checkpoint(path)
    torch.save(theirs, path)
    whole = path.read_bytes()
    for damaged in (b"", b"no checkpoint", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"some.pt"):
            read_checkpoint(path)
    torch.save([torch.zeros(2)], path)
    with pytest.raises(InputError, match="no dict of named tensors"):
        read_checkpoint(path)


def test_registry_is_pinned_to_a_commit():
    assert set(PUBLISHED) == {"ParT_full", "ParT_kin", "ParT_kinpid"}
    for name, address in PUBLISHED.items():
        assert address.endswith(f"/models/{name}.pt")
        assert len(address.split("/")[-3]) == 40


def test_without_network_the_user_is_told_what_to_do(tmp_path, monkeypatch):
    def unreachable(address, timeout):
        raise URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    with pytest.raises(InputError, match=r"ParT_kin.pt: download: failed .* weights.folder"):
        fetch_weights("ParT_kin", tmp_path / "ParT_kin.pt")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="ParT_huge: is not published"):
        fetch_weights("ParT_huge", tmp_path / "ParT_huge.pt")


def test_download_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", lambda address, timeout: io.BytesIO(address.encode()))
    fetch_weights("ParT_kin", tmp_path / "x.pt")
    assert (tmp_path / "x.pt").read_text() == PUBLISHED["ParT_kin"]
