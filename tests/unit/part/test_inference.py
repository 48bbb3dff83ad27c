"""The network prepared for inference is the same function."""

from collections import Counter
from contextlib import contextmanager
from itertools import cycle

import pandas as pd
import pytest
import torch

from softjet.config.families import FAMILIES
from softjet.config.part import ParTModel, ParTRun, Training
from softjet.errors import InputError
from softjet.latency.work import work_of
from softjet.lowrank import fuse
from softjet.lowrank.low_rank import LowRankLinear
from softjet.lowrank.pivot import PivotLinear
from softjet.lowrank.selection import all_factors, decompose, set_form
from softjet.lowrank.shared import share_inputs
from softjet.part import speed
from softjet.part.inference import InferenceModel
from softjet.part.model import ParticleTransformer
from softjet.part.speed import (
    AS_IT_COMES,
    WARMUP,
    WAYS,
    agreements,
    measure_inference,
    measure_training,
    some,
    with_ceilings,
)
from softjet.part.speed_weaver import as_weaver_reads, weaver_network
from softjet.part.static import StaticModel


class Jets:
    """A batch of jets of such lengths; the padding holds rubbish."""

    def __init__(self, lengths, features=17, seed=0):
        generator = torch.Generator().manual_seed(seed)
        longest = max(lengths)
        self.features = torch.randn(len(lengths), features, longest, generator=generator)
        momenta = 50 * torch.randn(len(lengths), 3, longest, generator=generator)
        energy = (momenta.square().sum(1, keepdim=True) + 0.02).sqrt()
        self.vectors = torch.cat((momenta, energy), dim=1)
        self.mask = torch.arange(longest)[None, None] < torch.tensor(lengths)[:, None, None]
        self.labels = torch.arange(len(lengths)) % 10
        self.rows = torch.arange(len(lengths))

    @property
    def inputs(self):
        return self.features, self.vectors, self.mask


def trained(**changes):
    """A network whose weights, scales and running averages are nowhere what they were at the start."""
    torch.manual_seed(1)
    shape = {
        "embed_dims": (16, 32, 16),
        "pair_embed_dims": (8, 8),
        "heads": 4,
        "blocks": 2,
        "class_blocks": 2,
    }
    model = ParticleTransformer(ParTModel(**shape | changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.copy_(0.5 + torch.rand_like(buffer))
    return model


@pytest.mark.parametrize("lengths", [(5, 1, 12), (7, 7), (8, 8), (1,)])
@pytest.mark.parametrize("changes", [{}, {"pair_mass": "stable"}, {"normalisation": "published"}])
@pytest.mark.parametrize("prepared", [InferenceModel, StaticModel])
def test_float32_gives_the_same_logits(lengths, changes, prepared):
    model, jets = trained(**changes), Jets(lengths)
    with torch.no_grad():
        expected = model(*jets.inputs)
    assert expected.std() > 0.1
    torch.testing.assert_close(prepared(model)(*jets.inputs), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("form", "kind", "joint"),
    [("pair", LowRankLinear, False), ("pivot", PivotLinear, False), ("pivot", PivotLinear, True)],
)
@pytest.mark.parametrize("lengths", [(5, 1, 12), (7, 7)])
@pytest.mark.parametrize("prepared", [InferenceModel, StaticModel])
def test_factored_matrices_stay_factored(lengths, prepared, form, kind, joint):
    model, jets = trained(embed_dims=(16, 32, 16)), Jets(lengths)
    decompose(model, share_inputs(model, FAMILIES["part"]) if joint else FAMILIES["part"])
    set_form(model, form)
    for rank, factors in enumerate(all_factors(model)):
        factors.fix((3, 5, 16)[rank % 3])
    fuse(model)
    with torch.no_grad():
        expected = model(*jets.inputs)
    ready = prepared(model)
    torch.testing.assert_close(ready(*jets.inputs), expected, rtol=1e-4, atol=1e-5)
    rough = prepared(model, "bfloat16")(*jets.inputs)
    assert 0 < (rough - expected).abs().max() < 0.1 * expected.std()
    layers = Counter(type(module) for module in ready.modules())
    assert layers[kind] >= 8


def test_pairs_go_through_in_pieces(monkeypatch):
    model, jets = trained(), Jets((5, 1, 12))
    expected = InferenceModel(model)(*jets.inputs)
    monkeypatch.setattr("softjet.part.rows.BLOCK", 7)
    torch.testing.assert_close(InferenceModel(model)(*jets.inputs), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("precision", "limit"), [("bfloat16", 0.1), ("float16", 0.02)])
def test_half_precision_stays_near(precision, limit):
    model, jets = trained(), Jets((5, 1, 12, 30))
    with torch.no_grad():
        expected = model(*jets.inputs)
    found = InferenceModel(model, precision)(*jets.inputs)
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() < limit * expected.std()


@pytest.mark.parametrize("prepared", [InferenceModel, StaticModel])
def test_padding_is_never_read(prepared):
    model, jets = prepared(trained()), Jets((5, 1, 12))
    expected = model(*jets.inputs)
    rubbish = ~jets.mask
    torch.testing.assert_close(
        model(jets.features.masked_fill(rubbish, 1e6), jets.vectors.masked_fill(rubbish, 7.0), jets.mask),
        expected,
        rtol=0,
        atol=0,
    )


def test_what_it_cannot_do_is_said():
    model = trained()
    with pytest.raises(InputError, match="precision"):
        InferenceModel(model, "float64")
    model.blocks[0].attention.edit = torch.relu
    with pytest.raises(InputError, match="edit"):
        InferenceModel(model)


def test_agreement_counts_jets():
    model, batches = trained(), [Jets((5, 1, 12)), Jets((4, 9), seed=2)]

    def other(*inputs):
        logits = model(*inputs)
        return logits.flip(1) if len(logits) == 2 else logits

    found = agreements(model, {"same": model, "other": other}, iter(batches))
    assert found["same"] == (1.0, 0.0, 5)
    assert found["other"].same_class == pytest.approx(3 / 5)
    assert found["other"].largest > 0.01


def test_weaver_core_reads_the_same_jets_in_another_order():
    model = trained(embed_dims=(16, 32, 16), max_particles=20)
    batches = [Jets((5, 1, 12)), Jets((4, 9), seed=2)]
    theirs = weaver_network(model)
    read = as_weaver_reads(batches, model.config, 2, seed=3)
    assert [len(batch.labels) for batch in read] == [2, 2, 1]
    assert {batch.features.shape[-1] for batch in read} == {20}
    with torch.no_grad():
        found = torch.cat([theirs(batch.features, batch.vectors, batch.mask) for batch in read])
        expected = torch.cat([model(*batch.inputs) for batch in batches])
    order = torch.randperm(5, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(found, expected[order], rtol=1e-3, atol=1e-4)
    assert (
        torch.cat([batch.labels for batch in read]).tolist() == torch.tensor([0, 1, 2, 0, 1])[order].tolist()
    )


def test_both_trainings_learn_from_the_same_jets(monkeypatch):
    learning, precisions = speed.learning, []

    def noting(network, config, *others, **named):
        precisions.append(config.precision)
        return learning(network, config, *others, **named)

    monkeypatch.setattr(speed, "learning", noting)
    shape = ParTModel(embed_dims=(16, 32, 16), pair_embed_dims=(8,), heads=4, blocks=1, class_blocks=1)
    run = ParTRun(model=shape, training=Training(learning_rate=0.01, precision="bfloat16"))
    batches = cycle([Jets((5, 1, 12)), Jets((4, 9), seed=2)])
    rates, losses = measure_training(run, batches, samples=20, steps=2, size=3, noise=10.0)
    assert rates[["way", "jets", "pairs"]].values.tolist() == 2 * [["training", 5, 20]]
    assert rates["memory"].tolist() == ["kept", "as it comes"]
    assert (rates[["jets_per_second", "their_jets_per_second"]] > 0).all(axis=None)
    assert precisions == ["float32", "bfloat16", "bfloat16"]
    assert rates["precision"].tolist() == ["bfloat16"] * 2
    assert (rates["flops_bfloat16"] > 10 * rates["flops_float32"]).all()
    assert (rates["their_jet_flops"] > rates["jet_flops"]).all()
    assert rates["warmup"].tolist() == [WARMUP] * 2
    assert (rates[["bytes_read", "jet_flops", "their_jet_flops"]] > 0).all(axis=None)
    both = rates["flops_float32"][0] + rates["flops_bfloat16"][0]
    assert both == pytest.approx(5 * rates["jet_flops"][0])
    curves = losses.pivot(index="call", columns="way", values="loss")
    assert len(curves) == 22
    # The first call sees them before and after a step; the loss of five jets learned by heart falls far.
    assert curves.iloc[0, 0] == pytest.approx(curves.iloc[0, 1], rel=0.3)
    assert (curves.iloc[-1] < 0.5 * curves.iloc[0]).all()


class Noting:
    """A network that notes how many jets it is given, and where it stands among all calls."""

    def __init__(self, name, network, seen):
        self.name, self.network, self.seen = name, network, seen

    def __call__(self, *inputs):
        self.seen.append((self.name, len(inputs[2]), inputs[2].shape[-1]))
        return self.network(*inputs)


@pytest.fixture
def seen(monkeypatch):
    """What networks were given, call by call; weaver-core elsewhere is a call that notes itself."""
    found, theirs = [], speed.weaver_network

    @contextmanager
    def elsewhere(model, batches):
        yield lambda: found.append(("elsewhere", sum(len(batch.labels) for batch in batches), 0))

    monkeypatch.setattr(speed, "weaver_network", lambda model: Noting("theirs", theirs(model), found))
    monkeypatch.setattr(speed, "WAYS", {"ours": lambda model: Noting("ours", model, found)})
    monkeypatch.setattr(speed, "answering_elsewhere", elsewhere)
    return found


def test_every_call_answers_all_jets_in_the_batches_of_each(seen):
    shape = {"embed_dims": (16, 32, 16), "pair_embed_dims": (8,), "heads": 4, "blocks": 1, "class_blocks": 1}
    model, batches = trained(**shape), [Jets((5, 1, 12)), Jets((4, 9), seed=2)]
    rates = measure_inference(model, batches, batches, samples=3, size=4, noise=0.0)
    read = Counter(seen)
    # Compared twice, counted once, and timed 2 x (2 + 3) times; theirs counted once and timed 2 + 3 times.
    ours = 2 + 1 + 2 * (WARMUP + 3)
    assert read["ours", 3, 12] == read["ours", 2, 9] == ours
    assert read["theirs", 4, 128] == read["theirs", 1, 128] == 1 + WARMUP + 3
    assert read["elsewhere", 5, 0] == WARMUP + 3
    # Which of weaver-core's memories a row is of: the one elsewhere is timed last.
    last = [name for name, *_ in seen if name != "ours"][-(WARMUP + 3) :]
    assert (rates["memory"].iloc[-1], set(last)) == (AS_IT_COMES, {"elsewhere"})
    assert rates["mean_particles"].tolist() == pytest.approx([31 / 5] * 2)
    assert rates["length"].tolist() == [12, 12]
    assert rates["note"].str.contains("too noisy").all()
    assert rates[["ratio", "low", "high"]].isna().all(axis=None)
    assert rates["nanoseconds_a"].map(len).tolist() == [3, 3]


def test_work_of_a_call_is_that_of_all_its_jets():
    shape = {"embed_dims": (16, 32, 16), "pair_embed_dims": (8,), "heads": 4, "blocks": 1, "class_blocks": 1}
    model, batches = trained(**shape), [Jets((5, 1, 12)), Jets((4, 9), seed=2)]
    rates = measure_inference(model, batches, batches, samples=2, size=3, noise=1e9).set_index("way")
    each = [work_of(lambda batch=batch: model(*batch.inputs)).total for batch in batches]
    assert rates.loc["model, float32", "flops_float32"].tolist() == [sum(each)] * 2


def test_every_way_stands_beside_what_the_peaks_allow():
    shape = {"embed_dims": (16, 32, 16), "pair_embed_dims": (8,), "heads": 4, "blocks": 1, "class_blocks": 1}
    model, batches = trained(**shape), [Jets((5, 1, 12)), Jets((4, 9), seed=2)]
    rates = measure_inference(model, batches, batches, samples=2, size=3, noise=1e9)
    assert rates["way"].tolist() == [way for way in WAYS for _ in range(2)]
    assert rates["memory"].tolist() == 4 * ["kept", "as it comes"]
    assert rates["compared"].tolist() == 8 * [5]
    assert (rates["their_compared"] == 5).all()
    of_way = rates.drop_duplicates("way").set_index("way")
    assert of_way["largest"].gt(0).tolist() == [False, True, True, True]
    # weaver-core is another network, if the same function.
    assert of_way["their_largest"].between(1e-9, 0.1).all()
    half = rates.set_index(["way", "memory"]).loc["inference, bfloat16", "kept"]
    assert half["flops_bfloat16"] > 50 * half["flops_float32"] > 0
    # Theirs multiplies padding too.
    assert (rates["their_jet_flops"] > rates["jet_flops"]).all()
    peaks = pd.DataFrame({"peak": ["float32", "bfloat16", "memory"], "median": [1e9, 1e9, 1e12]})
    table = with_ceilings(rates, peaks)
    assert table["ceiling"].tolist() == pytest.approx((1e9 / rates["jet_flops"]).tolist())
    assert table["of_limit"].tolist() == pytest.approx((rates["jets_per_second"] / table["ceiling"]).tolist())


def test_timed_batches_are_of_all_lengths():
    assert some(iter(range(32)), 8) == [4, 12, 20, 28]
