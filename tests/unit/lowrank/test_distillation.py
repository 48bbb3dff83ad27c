"""What the dense model answers and passes on as a part of the loss."""

import pytest
import torch
from method_settings import METHODS, TOTAL, answer, run, settings_of
from small_network import SELECTION, batches, loss, network

from softjet.errors import InputError
from softjet.lowrank import learn_ranks
from softjet.lowrank.distillation import digest_of, missed, outputs_of, with_teacher
from softjet.lowrank.selection import block_paths, decompose

BLOCKS = ["blocks.0", "blocks.1"]


def taught(model, told=answer, blocks=BLOCKS, **shares):
    """The loss of a model with itself as it is now as its teacher."""
    return with_teacher(model, loss, told, settings_of("svd", **shares), blocks)


def divergence(teacher, student):
    """KL(teacher || student) by hand, mean over the rows."""
    p, q = torch.softmax(teacher, -1), torch.softmax(student, -1)
    return (p * (p / q).log()).sum(-1).mean()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_loss_is_mixed_with_the_divergence_from_the_dense_model(share):
    model, batch = network().eval(), next(batches(0))
    mixed = taught(model, distillation=share)
    first = answer(model, batch).detach()
    torch.testing.assert_close(mixed(model, batch), (1 - share) * loss(model, batch))
    with torch.no_grad():
        model.leave.weight.mul_(1.5)
    expected = (1 - share) * loss(model, batch) + share * divergence(first, answer(model, batch))
    torch.testing.assert_close(mixed(model, batch), expected)


def test_the_teacher_stays_the_dense_model_without_dropout_and_gets_no_gradient():
    model, batch = network(), next(batches(0))
    mixed = taught(model, distillation=1.0)
    first = answer(model.eval(), batch).detach()
    decompose(model.train(), SELECTION)
    seen = []

    def noted(model, batch):
        logits = answer(model, batch)
        seen.append(logits)
        return logits

    mixed = taught(network(), noted, distillation=1.0)
    mixed(model, batch).backward()
    teacher, student = seen
    torch.testing.assert_close(teacher, first)
    assert not teacher.requires_grad
    assert student.requires_grad


def test_no_copy_of_the_model_is_made_unless_asked_for():
    assert taught(network()) is loss


def missed_by_hand(teacher, student):
    """1 - R^2 of one block, its features told apart by their own means."""
    return ((student - teacher) ** 2).sum() / ((teacher - teacher.mean(0)) ** 2).sum()


def states(model, batch):
    """What a block after another puts out."""
    values, x = [], model.enter(batch[0])
    for block in model.blocks:
        x = block(x)
        values.append(x)
    return values


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_what_blocks_miss_of_the_dense_ones_is_added(share):
    model, batch = network().eval(), next(batches(0))
    held = taught(model, distillation=share, imitation=0.7)
    dense, first = states(model, batch), answer(model, batch).detach()
    torch.testing.assert_close(held(model, batch), (1 - share) * loss(model, batch))
    with torch.no_grad():
        model.blocks[0].wide.weight.mul_(1.5)
    miss = sum(map(missed_by_hand, dense, states(model, batch))) / 2
    mixed = (1 - share) * loss(model, batch) + share * divergence(first, answer(model, batch))
    torch.testing.assert_close(held(model, batch), mixed + 0.7 * miss)


def test_imitation_runs_each_model_once_and_leaves_nothing_behind():
    model, runs = network(), []

    def counted(model, batch):
        runs.append(model)
        return loss(model, batch)

    held = with_teacher(model, counted, None, settings_of("svd", imitation=1.0), BLOCKS)
    held(model, next(batches(0))).backward()
    student, teacher = runs
    assert student is model
    assert not teacher.training
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert not any(module._forward_hooks for run in runs for module in run.modules())


def test_a_teacher_that_answers_is_not_run_again_for_its_blocks():
    model, teachers = network(), []

    def counted(told):
        def noted(asked, batch):
            teachers.extend([asked] * (asked is not model))
            return told(asked, batch)

        return noted

    settings = settings_of("svd", distillation=0.5, imitation=1.0)
    with_teacher(model, counted(loss), counted(answer), settings, BLOCKS)(model, next(batches(0)))
    assert len(teachers) == 1


@pytest.mark.parametrize("left", [0, 1])
def test_blocks_that_are_never_called_are_named(left):
    model = network()
    for block in list(model.blocks)[left:]:
        block.forward = None

    class Around(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks, self.enter, self.leave = model.blocks, model.enter, model.leave

        def forward(self, x):
            x = self.enter(x)
            for block in list(self.blocks)[:left]:
                x = block(x)
            for block in list(self.blocks)[left:]:
                x = x + torch.tanh(block.wide(x)).chunk(2, -1)[0]
            return self.leave(x)

    around = Around()
    with pytest.raises(
        InputError, match=rf"imitation: needs blocks\.{left} to be called as a module"
    ) as caught:
        taught(around, imitation=0.5)(around, next(batches(0)))
    assert "\n" not in str(caught.value)


def test_imitation_without_blocks_is_one_line():
    with pytest.raises(InputError, match="imitation: needs blocks, and there are none"):
        with_teacher(network(), loss, None, settings_of("svd", imitation=0.5))


def test_a_mean_misses_all_of_the_variance_whatever_its_size():
    target = 1e3 * torch.randn(4, 7, 5, generator=torch.Generator().manual_seed(3)) + 1e4
    mean = target.mean((0, 1), keepdim=True).expand_as(target)
    torch.testing.assert_close(missed({"a": mean}, {"a": target}), torch.tensor(1.0))
    assert missed({"a": target}, {"a": target}) == 0


@pytest.mark.parametrize("places", [1, 3])
def test_of_a_block_that_says_the_same_everywhere_nothing_is_missed(places):
    own = torch.randn(places, 5, requires_grad=True)
    miss = missed({"a": own}, {"a": torch.full((places, 5), 0.1)})
    miss.backward()
    assert miss == 0
    assert not own.grad.any()


def test_of_a_block_with_several_outputs_the_first_counts():
    class Two(torch.nn.Module):
        def forward(self, x):
            return 2 * x, x

    model = torch.nn.Sequential(Two())
    with outputs_of(model, ["0"]) as seen:
        model(torch.ones(3))
    torch.testing.assert_close(seen["0"], torch.full((3,), 2.0))


def test_blocks_to_imitate_are_those_of_the_selection():
    assert block_paths(network(), SELECTION) == BLOCKS


def test_with_imitation_blocks_end_nearer_to_the_dense_ones(tmp_path):
    dense, batch = network().eval(), next(batches(0))
    ends = {}
    for weight in (0.0, 5.0):
        model = run("svd", tmp_path / str(weight), keep=0.4, imitation=weight)[0].eval()
        with outputs_of(model, BLOCKS) as own, outputs_of(dense, BLOCKS) as wanted:
            model(batch[0]), dense(batch[0])
        ends[weight] = missed(own, wanted).item()
    assert ends[5.0] < 0.7 * ends[0.0]


def test_distillation_without_logits_is_one_line(tmp_path):
    wanted = settings_of("soft-threshold", distillation=0.5)
    with pytest.raises(InputError, match="distillation: needs the model's logits") as caught:
        learn_ranks(network(), SELECTION, batches, loss, wanted, tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("share", [{"distillation": 1.0}, {"imitation": 1.0}])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_have_a_teacher(tmp_path, method, share):
    plain = run(method, tmp_path / "plain", learn_steps=40, recover_steps=1)[1]
    distilled = run(method, tmp_path / "distilled", **share, learn_steps=40, recover_steps=1)[1]
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


@pytest.mark.parametrize(("shares", "read"), [({}, 0), ({"distillation": 0.5}, 1), ({"imitation": 0.5}, 1)])
def test_the_dense_model_is_read_for_its_digest_only_where_it_teaches(tmp_path, monkeypatch, shares, read):
    models = []
    monkeypatch.setattr("softjet.lowrank.phases.digest_of", lambda model: models.append(model) or "")
    run("svd", tmp_path, **shares)
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
