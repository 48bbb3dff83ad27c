"""The dense model's answer as a part of the loss."""

import pytest
import torch
from method_settings import METHODS, TOTAL, answer, run, settings_of
from small_network import SELECTION, batches, loss, network

from softjet.errors import InputError
from softjet.lowrank import learn_ranks
from softjet.lowrank.distillation import digest_of, with_teacher
from softjet.lowrank.selection import decompose


def divergence(teacher, student):
    """KL(teacher || student) by hand, mean over the rows."""
    p, q = torch.softmax(teacher, -1), torch.softmax(student, -1)
    return (p * (p / q).log()).sum(-1).mean()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_loss_is_mixed_with_the_divergence_from_the_dense_model(share):
    model, batch = network().eval(), next(batches(0))
    mixed = with_teacher(model, loss, answer, share)
    first = answer(model, batch).detach()
    torch.testing.assert_close(mixed(model, batch), (1 - share) * loss(model, batch))
    with torch.no_grad():
        model.leave.weight.mul_(1.5)
    expected = (1 - share) * loss(model, batch) + share * divergence(first, answer(model, batch))
    torch.testing.assert_close(mixed(model, batch), expected)


def test_the_teacher_stays_the_dense_model_without_dropout_and_gets_no_gradient():
    model, batch = network(), next(batches(0))
    mixed = with_teacher(model, loss, answer, 1.0)
    first = answer(model.eval(), batch).detach()
    decompose(model.train(), SELECTION)
    seen = []

    def noted(model, batch):
        logits = answer(model, batch)
        seen.append(logits)
        return logits

    mixed = with_teacher(network(), loss, noted, 1.0)
    mixed(model, batch).backward()
    teacher, student = seen
    torch.testing.assert_close(teacher, first)
    assert not teacher.requires_grad
    assert student.requires_grad


def test_no_copy_of_the_model_is_made_unless_asked_for():
    assert with_teacher(network(), loss, answer, 0.0) is loss


def test_distillation_without_logits_is_one_line(tmp_path):
    wanted = settings_of("soft-threshold", distillation=0.5)
    with pytest.raises(InputError, match="distillation: needs the model's logits") as caught:
        learn_ranks(network(), SELECTION, batches, loss, wanted, tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_be_distilled(tmp_path, method):
    plain = run(method, tmp_path / "plain", learn_steps=40, recover_steps=1)[1]
    distilled = run(method, tmp_path / "distilled", distillation=1.0, learn_steps=40, recover_steps=1)[1]
    assert len(plain) == len(distilled)
    assert plain["task"].iloc[-1] != distilled["task"].iloc[-1]


def stopped(folder, model):
    """The saved state of a distilled run that has only begun."""

    def none(start):
        yield from ()

    with pytest.raises(StopIteration):
        run("svd", folder, model, none, distillation=0.5)
    return folder / "ranks.pt"


def changed(part):
    """The network with one value of a parameter or a buffer moved by as little as can be."""
    model = with_buffer()
    value = model.get_parameter(part) if part != "offset" else model.get_buffer(part)
    with torch.no_grad():
        value.view(-1)[-1] = torch.nextafter(value.view(-1)[-1], torch.tensor(torch.inf))
    return model


def with_buffer():
    model = network()
    model.register_buffer("offset", torch.zeros(3), persistent=False)
    return model


@pytest.mark.parametrize("part", ["enter.weight", "blocks.1.wide.weight", "leave.bias", "offset"])
def test_a_distilled_run_does_not_go_on_with_another_teacher(tmp_path, part):
    state = stopped(tmp_path, with_buffer())
    with pytest.raises(InputError, match=r"dense model: is not the one .* remove this file") as caught:
        run("svd", tmp_path, changed(part), distillation=0.5)
    assert str(caught.value).startswith(f"{state}: ")
    assert "\n" not in str(caught.value)
    assert len(run("svd", tmp_path, with_buffer(), distillation=0.5)[1]) == TOTAL


@pytest.mark.parametrize(("share", "read"), [(0.0, 0), (0.5, 1)])
def test_the_dense_model_is_read_for_its_digest_only_where_it_teaches(tmp_path, monkeypatch, share, read):
    models = []
    monkeypatch.setattr("softjet.lowrank.phases.digest_of", lambda model: models.append(model) or "")
    run("svd", tmp_path, distillation=share)
    assert len(models) == read


def test_a_digest_is_of_values_and_not_of_how_they_lie_in_memory():
    one, other = network(), network()
    other.leave.weight = torch.nn.Parameter(other.leave.weight.detach().T.contiguous().T)
    wide = torch.zeros(2, 5)
    for model, value in ((one, wide[:1, 0]), (other, wide[1, :1])):
        model.register_buffer("single", value)
        model.register_buffer("count", torch.tensor(7))
        model.register_buffer("none", torch.zeros(0))
    assert digest_of(one) == digest_of(other)
    assert digest_of(one.bfloat16()) != digest_of(other)
    assert digest_of(one) == digest_of(other.bfloat16())
