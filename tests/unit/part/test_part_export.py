"""The model as an ONNX file, in onnxruntime."""

import numpy as np
import pytest
import torch
from small_part import SMALL, Jets

from softjet.config.families import FAMILIES
from softjet.config.part import ParTModel
from softjet.errors import InputError
from softjet.lowrank import LowRankLinear, fuse
from softjet.lowrank.selection import all_factors, decompose
from softjet.onnx_file import OPSET
from softjet.part.export import DenseTransformer, export_onnx
from softjet.part.model import ParticleTransformer

onnxruntime = pytest.importorskip("onnxruntime")
CLASSES = ("QCD", "Top")


def random_model(config):
    torch.manual_seed(1)
    model = ParticleTransformer(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.copy_(0.5 + torch.rand_like(buffer))
    return model.eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    model = random_model(SMALL.model_copy(update={"blocks": 1, "pair_mass": "stable"})).train()
    export_onnx(model, path, CLASSES)
    assert model.training
    assert [entry.name for entry in path.parent.iterdir()] == ["model.onnx"]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return model.eval(), onnxruntime.InferenceSession(path, options)


def cut(jets, longest):
    return jets.features[..., :longest], jets.vectors[..., :longest], jets.mask[..., :longest]


@pytest.mark.parametrize(("n_jets", "longest"), [(64, 12), (1, 1), (7, 1), (1, 9), (3, 40), (2, 128)])
def test_logits_equal_in_onnxruntime(exported, n_jets, longest):
    model, session = exported
    batch = cut(Jets(n_jets, longest=max(2, longest), seed=longest), longest)
    names = ("features", "vectors", "mask")
    (found,) = session.run(["logits"], {n: t.numpy() for n, t in zip(names, batch, strict=True)})
    with torch.no_grad():
        expected = model(*batch).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_a_compressed_model_is_exported_too(tmp_path):
    model = random_model(SMALL.model_copy(update={"blocks": 1}))
    decompose(model, FAMILIES["part"])
    for i, factors in enumerate(all_factors(model)):
        factors.fix((3, 5, 16)[i % 3])
    export_onnx(fuse(model), tmp_path / "model.onnx", CLASSES)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for n_jets, longest in ((7, 12), (3, 20)):
        batch = cut(Jets(n_jets, longest=longest), longest)
        given = {n: t.numpy() for n, t in zip(("features", "vectors", "mask"), batch, strict=True)}
        with torch.no_grad():
            expected = model(*batch).numpy()
        np.testing.assert_allclose(session.run(["logits"], given)[0], expected, rtol=0, atol=1e-5)
    assert any(isinstance(module, LowRankLinear) for module in model.modules())


def test_padding_of_the_file_may_hold_anything(exported):
    _, session = exported
    features, vectors, mask = (tensor.clone() for tensor in cut(Jets(16), 12))
    before = session.run(
        None, {"features": features.numpy(), "vectors": vectors.numpy(), "mask": mask.numpy()}
    )
    features[~mask.expand_as(features)] = 1e3
    vectors[~mask.expand_as(vectors)] = torch.nan
    after = session.run(
        None, {"features": features.numpy(), "vectors": vectors.numpy(), "mask": mask.numpy()}
    )
    np.testing.assert_array_equal(before[0], after[0])


def test_file_says_what_goes_in_and_comes_out(exported):
    _, session = exported
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["classes"] == "QCD,Top"
    assert metadata["features"] == "pt_log,e_log,logptrel,logerel,deltaR,deta,dphi"
    shapes = {entry.name: entry.shape for entry in (*session.get_inputs(), *session.get_outputs())}
    assert shapes == {
        "features": ["batch", 7, "particles"],
        "vectors": ["batch", 4, "particles"],
        "mask": ["batch", 1, "particles"],
        "logits": ["batch", 2],
    }
    assert OPSET == 20


@pytest.mark.parametrize("mass", ["published", "stable"])
def test_dense_form_is_the_model(mass):
    model = random_model(SMALL.model_copy(update={"pair_mass": mass})).double()
    features, vectors, mask = cut(Jets(40), 12)
    batch = features.double(), vectors.double(), mask
    torch.testing.assert_close(DenseTransformer(model)(*batch), model(*batch), rtol=0, atol=1e-11)


def test_classes_are_named_one_by_one(tmp_path):
    with pytest.raises(InputError, match="the model has 10"):
        export_onnx(ParticleTransformer(ParTModel()), tmp_path / "x.onnx", CLASSES)
    assert not list(tmp_path.iterdir())
