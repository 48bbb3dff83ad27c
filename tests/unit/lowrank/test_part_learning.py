"""Particle Transformer through rank learning: the precision that is asked for, and what it cannot do."""

import itertools
from types import SimpleNamespace

import pytest
import torch

from softjet.config.families import FAMILIES
from softjet.config.lowrank import RankLearning
from softjet.config.part import ParTModel
from softjet.errors import InputError
from softjet.lowrank import learn_ranks
from softjet.part.model import ParticleTransformer
from softjet.part.train import class_logits, class_loss


def part():
    torch.manual_seed(0)
    shape = {"embed_dims": (16, 16), "pair_embed_dims": (8,), "heads": 2, "blocks": 2, "class_blocks": 1}
    return ParticleTransformer(ParTModel(features="kin", classes=3, **shape)).eval()


def batch(seed):
    """Six jets of up to five particles."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(6, 1, 5, generator=generator) < 0.7
    mask[:, :, 0] = True
    momenta = 10 * torch.randn(6, 3, 5, generator=generator)
    energy = (momenta.square().sum(1, keepdim=True) + 1).sqrt()
    return SimpleNamespace(
        features=torch.randn(6, 7, 5, generator=generator) * mask,
        vectors=torch.cat((momenta, energy), 1) * mask,
        mask=mask,
        labels=torch.randint(3, (6,), generator=generator),
    )


def learn(model, folder, **settings):
    wanted = RankLearning(method="svd", keep=0.6, of="linears", rank_floor=1, **settings)
    given = wanted.model_copy(update={"learn_steps": 1, "recover_steps": 1})
    return learn_ranks(
        model, FAMILIES["part"], lambda step: map(batch, itertools.count(step)), class_loss, given, folder,
        answer=class_logits,
    )  # fmt: skip


@pytest.mark.parametrize("pays", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_is_computed_in_the_precision_that_is_asked_for(tmp_path, monkeypatch, precision, pays):
    monkeypatch.setattr("softjet.device._pays", lambda device: pays)
    model, kinds = part(), set()
    model.head.register_forward_hook(lambda _, __, logits: kinds.add(logits.dtype))
    learn(model, tmp_path, precision=precision, distillation=0.5)
    assert kinds == {getattr(torch, precision)}


def test_its_blocks_cannot_be_imitated_which_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"imitation: needs blocks\.0 to put out .*; set it to 0") as caught:
        learn(part(), tmp_path, imitation=1.0)
    assert "\n" not in str(caught.value)
