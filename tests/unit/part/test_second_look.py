"""Close calls in bfloat16 are answered again in float32."""

import pytest
import torch
from test_inference import Jets, trained

from softjet.part.inference import InferenceModel
from softjet.part.second_look import SecondLook

JETS = Jets((30, 25, 28, 12, 9, 12, 12, 3, 5, 1), seed=1)


def test_close_calls_have_the_answer_of_float32_and_others_that_of_bfloat16():
    model = trained()
    rough, fine = InferenceModel(model, "bfloat16")(*JETS.inputs), InferenceModel(model)(*JETS.inputs)
    two = rough.softmax(1).topk(2, 1).values
    margins = two[:, 0] - two[:, 1]
    look = SecondLook(model, margin=float(margins.median()) + 1e-6)
    close = margins < look.margin
    assert 0 < close.sum() < len(close)
    assert (rough - fine).abs().amax(1).min() > 1e-4
    torch.testing.assert_close(
        look(*JETS.inputs), torch.where(close[:, None], fine, rough), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(("margin", "precision"), [(0.0, "bfloat16"), (1.1, "float32")])
def test_no_call_is_close_and_every_call_is(margin, precision):
    model = trained()
    expected = InferenceModel(model, precision)(*JETS.inputs)
    torch.testing.assert_close(SecondLook(model, margin)(*JETS.inputs), expected, rtol=1e-5, atol=1e-5)
