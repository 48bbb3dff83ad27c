import pytest
import torch

from softjet.device import bfloat16_pays
from softjet.errors import InputError
from softjet.part.prediction import predict, predict_loader


def test_prediction_keeps_the_order_of_the_jets(model, jets):
    batch = jets.features, jets.vectors, jets.mask
    expected = model(*batch)
    for batch_size in (1, 7, 64, 1000):
        logits = predict(model, *batch, batch_size=batch_size, precision="float32")
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)


def test_prediction_trims_behind_the_last_particle(model, jets):
    flipped = [tensor.flip(-1) for tensor in (jets.features, jets.vectors, jets.mask)]
    expected = model(jets.features, jets.vectors, jets.mask)
    torch.testing.assert_close(predict(model, *flipped, precision="float32"), expected, rtol=0, atol=1e-5)


def test_prediction_of_a_loader_is_in_the_order_of_its_rows(model, jets):
    logits, labels, rows = predict_loader(model, jets, "float32")
    expected = model(jets.features, jets.vectors, jets.mask)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    assert torch.equal(rows, torch.arange(jets.n_jets))
    assert torch.equal(labels, jets.labels)


def test_prediction_evaluates_and_restores_the_mode(model, jets):
    batch = jets.features, jets.vectors, jets.mask
    expected = model(*batch)
    model.train()
    statistics = model.embed.norm.running_mean.clone()
    torch.testing.assert_close(predict(model, *batch, precision="float32"), expected, rtol=0, atol=1e-5)
    assert model.training
    assert torch.equal(model.embed.norm.running_mean, statistics)


def test_bfloat16_is_near_and_not_equal(model, jets):
    batch = jets.features, jets.vectors, jets.mask
    exact, rough = (predict(model, *batch, precision=precision) for precision in ("float32", "bfloat16"))
    assert 0 < (exact - rough).abs().max() < 0.1


def test_unknown_precision_is_named(model, jets):
    with pytest.raises(InputError, match="float16"):
        predict(model, jets.features, jets.vectors, jets.mask, precision="float16")


@pytest.mark.parametrize(
    ("flags", "pays"),
    [
        ("AuthenticAMD fpu avx2", False),
        ("AuthenticAMD fpu avx512f avx512_bf16", True),
        ("GenuineIntel fpu avx512f avx512_bf16", False),
        ("GenuineIntel avx512_bf16 amx_bf16 fpu", True),
    ],
)
def test_bfloat16_is_read_off_the_processor(tmp_path, flags, pays):
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor : 0\nflags : {flags}\n")
    assert bfloat16_pays(str(path)) is pays
    assert not bfloat16_pays(str(tmp_path / "absent"))
