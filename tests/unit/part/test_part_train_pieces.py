"""A step in pieces, determinism, devices, fine-tuning, and the recipes at the scale of the paper."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_part import SMALL, Jets

from softjet.config.load import load_config, validate
from softjet.config.part import ParTRun, Training
from softjet.device import determinism, device_of
from softjet.errors import InputError
from softjet.part.checkpoint import load_part, save_part
from softjet.part.finetune import start_from, starting_network
from softjet.part.model import ParticleTransformer
from softjet.part.norm import BatchRenorm1d
from softjet.part.schedule import learning_rate, total_steps
from softjet.part.team import RunningAverages, Team
from softjet.part.train import _gradients, _Job, train_part

CONFIG = Path(__file__).parents[3] / "config"
SETTINGS = Training(steps=6, batch_size=18, learning_rate=0.01, precision="float32", seed=4)


def run_of(model=SMALL, **settings):
    return ParTRun(model=model, training=SETTINGS.model_copy(update=settings))


def train(folder, run, start=None):
    return train_part(run, Jets(64, 17), Jets(32, seed=1), folder / "out", folder / "state", start)


def gradients(job):
    return torch.cat([parameter.grad.flatten() for parameter in job.model.parameters()])


def test_loss_and_gradients_are_means_over_jets_though_pieces_differ():
    batch = Jets(17).take(torch.arange(17))
    job = _Job(run_of(microbatches=3), 6, None)
    job.model.eval()  # BatchNorm's batches are the pieces: without it the step is the same
    loss = _gradients(job, batch, 17)
    whole = _Job(run_of(), 6, None)
    whole.model.eval()
    assert _gradients(whole, batch, 17) == pytest.approx(loss, abs=1e-6)
    torch.testing.assert_close(gradients(job), gradients(whole), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("normalisation", ["renormalised", "masked", "published"])
def test_running_averages_are_the_mean_of_the_pieces_in_any_order(normalisation):
    run = run_of(SMALL.model_copy(update={"normalisation": normalisation}), microbatches=2, device="cpu")
    batch = Jets(16).take(torch.arange(16))
    first, second = batch.piece((0, 2)), batch.piece((1, 2))
    means = []
    for pieces in ((first, second), (second, first), (first,), (second,)):
        job = _Job(run, 6, None)
        averages = RunningAverages(job.model, len(pieces), Team())
        averages.begin()
        for piece in pieces:
            job.model(piece.features, piece.vectors, piece.mask)
            averages.end_piece()
        averages.end()
        assert job.model.embed.norm.num_batches_tracked == 1
        means.append(job.model.embed.norm.running_mean.clone())
    assert torch.equal(means[0], means[1])
    torch.testing.assert_close(means[0], (means[2] + means[3]) / 2)
    assert not torch.allclose(means[2], means[3])


def test_one_piece_is_an_ordinary_step():
    """The averages of a step of one piece are those that the layers keep themselves."""
    norm = BatchRenorm1d(3)
    averages = RunningAverages(norm, 1, Team())
    averages.begin()
    norm(torch.arange(12.0).view(4, 3))
    kept = norm.running_mean.clone()
    averages.end_piece()
    averages.end()
    assert torch.equal(norm.running_mean, kept)
    assert norm.num_batches_tracked == 1


@pytest.mark.parametrize(("normalisation", "sees"), [("masked", False), ("published", True)])
def test_only_the_published_statistics_see_padding(normalisation, sees):
    batch = Jets(16).take(torch.arange(16))
    padded = [torch.nn.functional.pad(t, (0, 5)) for t in (batch.features, batch.vectors, batch.mask)]
    model = ParticleTransformer(SMALL.model_copy(update={"normalisation": normalisation}))
    with torch.no_grad():
        plain = model(batch.features, batch.vectors, batch.mask)
        assert torch.allclose(plain, model(*padded), atol=1e-5) != sees


def test_masked_training_normalises_by_the_real_particles_of_the_batch():
    batch = Jets(16).take(torch.arange(16))
    model = ParticleTransformer(SMALL.model_copy(update={"normalisation": "masked"}))
    seen = []
    model.embed.norm.register_forward_hook(lambda module, given, out: seen.append(out))
    model(batch.features, batch.vectors, batch.mask)
    rows = batch.features.transpose(1, 2)[batch.mask[:, 0]]
    expected = (rows - rows.mean(0)) / (rows.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(seen[0], expected, atol=1e-5, rtol=1e-4)


def test_choice_of_statistics_is_written_with_the_model(tmp_path):
    train(tmp_path, run_of(SMALL.model_copy(update={"normalisation": "masked"})))
    assert load_part(tmp_path / "out").config.normalisation == "masked"


def test_deterministic_training_has_the_same_bits_whatever_the_threads(tmp_path):
    threads, weights = torch.get_num_threads(), []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            train(tmp_path / str(n), run_of(deterministic=True))
            assert torch.get_num_threads() == n
            assert not torch.are_deterministic_algorithms_enabled()
            weights.append(load_file(tmp_path / str(n) / "out/model.safetensors"))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())


def test_deterministic_training_refuses_an_operation_that_may_give_other_bits(tmp_path, monkeypatch):
    def rough(*given):
        return torch.zeros(4).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))

    monkeypatch.setattr("softjet.part.train.class_loss", rough)
    with pytest.raises(RuntimeError, match="put_ does not have a deterministic implementation"):
        train(tmp_path, run_of(deterministic=True))
    assert not torch.are_deterministic_algorithms_enabled()
    with determinism(False):
        rough()


def test_devices():
    assert device_of("cpu").type == "cpu"
    gpus = torch.cuda.device_count()
    assert device_of("auto").type == ("cuda" if gpus else "cpu")
    with pytest.raises(InputError, match=f"asks for GPU {gpus} and this machine has {gpus}"):
        device_of("cuda", gpus)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_gpu_has_the_gradients_of_the_processor():
    batch = Jets(17).take(torch.arange(17))
    here, there = (_Job(run_of(device=device), 6, None) for device in ("cpu", "cuda"))
    losses = [_gradients(job, batch, 17) for job in (here, there)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    torch.testing.assert_close(gradients(there).cpu(), gradients(here), rtol=1e-3, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_gpu_trains_as_the_processor(tmp_path):
    histories = [train(tmp_path / device, run_of(device=device)) for device in ("cpu", "cuda")]
    # The first steps of Adam go by the sign of a gradient, also of one that is nothing but rounding.
    torch.testing.assert_close(*(torch.tensor(h["loss"].to_numpy()) for h in histories), rtol=0.02, atol=0)
    assert load_part(tmp_path / "cuda/out").head.weight.device.type == "cpu"


@pytest.fixture
def base(tmp_path, model):
    save_part(tmp_path / "base", model)
    return tmp_path / "base"


def test_fine_tuning_keeps_the_body_and_draws_a_new_head(base, model):
    torch.manual_seed(5)
    other = ParticleTransformer(SMALL.model_copy(update={"classes": 3}))
    head = other.head.weight.clone()
    start_from(other, base)
    assert torch.equal(other.head.weight, head)
    body = {name: value for name, value in model.state_dict().items() if not name.startswith("head")}
    assert all(torch.equal(other.state_dict()[name], value) for name, value in body.items())
    same = ParticleTransformer(SMALL)
    start_from(same, base)
    assert torch.equal(same.head.weight, model.head.weight)
    assert same.training
    start = starting_network(SMALL.model_copy(update={"classes": 3, "max_particles": 9}), base)
    assert not start.training
    assert (start.config.max_particles, start.head.out_features) == (9, 3)
    assert all(torch.equal(start.state_dict()[name], value) for name, value in body.items())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"features": "kinpid"}, r"embed\.norm\.weight: has shape \(7,\), in this run's model \(13,\)"),
        ({"blocks": 3}, r"blocks\.2\.\S+: is not in the model to start from"),
        ({"blocks": 1}, r"blocks\.1\.\S+: is not in this run's model"),
    ],
)
def test_fine_tuning_of_another_shape_is_one_line(base, change, says):
    with pytest.raises(InputError, match=says) as caught:
        start_from(ParticleTransformer(SMALL.model_copy(update=change)), base)
    assert str(caught.value).startswith(str(base))


def test_fine_tuning_begins_at_the_base_and_moves_the_head_faster(tmp_path, base, model):
    tiny = run_of(steps=1, learning_rate=1e-6, head_rate=50, schedule="constant", warmup=0, weight_decay=0)
    train(tmp_path, tiny, start=base)
    tuned, before = load_file(tmp_path / "out/model.safetensors"), model.state_dict()
    moved = {n: (value - before[n]).abs().max() for n, value in tuned.items() if n.endswith("weight")}
    assert moved["head.weight"] == pytest.approx(50e-6, rel=0.05)
    assert moved["blocks.0.expand.weight"] == pytest.approx(1e-6, rel=0.2)


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        ({"b": {"start_from": "c"}}, "part.b.start_from: 'c' is no run"),
        ({"b": {"start_from": "b"}}, "part.b.start_from: 'b' starts from itself"),
        ({"b": {"start_from": "c"}, "c": {"start_from": "b"}}, "part.b.start_from: 'b' starts from itself"),
    ],
)
def test_what_a_run_starts_from_is_checked(runs, says):
    with pytest.raises(InputError, match=says):
        validate({"part": {"reference": {}} | runs}, "x")
    validate(
        {"part": {"reference": {}, "b": {"start_from": "reference"}, "c": {"start_from": "some/where"}}}, "x"
    )


@pytest.mark.parametrize(
    ("training", "says"),
    [
        ({"steps": 5, "epochs": 2}, "either epochs or steps"),
        ({"epochs": None}, "either epochs or steps"),
        ({"processes": 4, "microbatches": 20}, "below two jets for each of 80 pieces"),
    ],
)
def test_lengths_and_pieces_are_checked(training, says):
    with pytest.raises(InputError, match=says):
        validate({"part": {"reference": {"training": training}}}, "x")


def test_steps_replace_the_default_epochs():
    assert total_steps(Training(steps=7), steps_per_epoch=100) == 7
    assert total_steps(Training(epochs=0.5), steps_per_epoch=100) == 50
    assert Training.model_validate(Training(steps=7).model_dump()) == Training(steps=7)


def test_constant_rate_stays_after_the_warm_up():
    config = Training(learning_rate=0.5, schedule="constant", warmup=0.1)
    assert [learning_rate(step, 20, config) for step in range(20)] == [0.25] + [0.5] * 19


@pytest.mark.parametrize(
    ("name", "run", "steps", "decay"),
    [
        ("jetclass", "full", 50 * 10_240_000 // 512, 0.0),
        ("top", "top", 20 * 2400, 0.01),
        ("quark_gluon", "quark-gluon", 20 * 1_600_000 // 512, 0.01),
    ],
)
def test_recipes_are_the_published_ones(name, run, steps, decay):
    config = load_config(CONFIG / f"{name}.yaml")
    training = config.part[run].training
    assert (training.steps, training.batch_size, training.weight_decay) == (steps, 512, decay)
    assert (training.optimiser, training.schedule, training.clip) == ("ranger", "flat-exponential", None)
    rates = [learning_rate(step, steps, training) for step in (0, round(0.69 * steps), steps - 1)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-5])
    tuned = config.part.get(f"{run}-tuned")
    if tuned is not None:
        recipe = tuned.training
        assert (recipe.learning_rate, recipe.head_rate, recipe.schedule) == (1e-4, 50, "constant")
        assert tuned.model == config.part[run].model
