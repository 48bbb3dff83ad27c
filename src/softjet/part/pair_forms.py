"""What the rounding of pair masses changes in a network's logits."""

import pandas as pd
import torch
from torch import Tensor

from softjet.config.part import PairMass
from softjet.part.model import ParticleTransformer
from softjet.part.prediction import Evaluation

QUANTILES = {"median": 0.5, "q90": 0.9, "q99": 0.99, "largest": 1.0}

_FORMS: dict[str, tuple[PairMass, torch.dtype]] = {
    "published, float32": ("published", torch.float32),
    "stable, float32": ("stable", torch.float32),
    "published, float64": ("published", torch.float64),
}
_COMPARED = (
    ("stable, float32", "published, float32"),
    ("published, float32", "published, float64"),
    ("stable, float32", "published, float64"),
)


@torch.inference_mode()
def compare_pair_forms(model: ParticleTransformer, loader: Evaluation, every: int = 1) -> pd.DataFrame:
    """Logits of the same weights with ln m^2 in its published and stable form, and all in float64.

    Parameters
    ----------
    model : ParticleTransformer
        Its own choice of form does not matter; nothing runs in bfloat16 here.
    loader : Evaluation
        Jets.
    every : int
        Of each batch's jets every so-many-th is taken.

    Returns
    -------
    DataFrame
        A row a pair of forms: form, against, n (jets), quantiles over jets of the largest change of a logit
        (median, q90, q99, largest), and decisions (share of jets whose most likely class changes).
    """
    models = {name: _in_form(model, *form) for name, form in _FORMS.items()}
    batches = [
        [tensor[::every] for tensor in (batch.features, batch.vectors, batch.mask)]
        for batch in loader.evaluation()
    ]
    logits = {
        name: torch.cat([form(f.to(dtype), v.to(dtype), mask).double() for f, v, mask in batches])
        for (name, form), (_, dtype) in zip(models.items(), _FORMS.values(), strict=True)
    }
    rows = [{"form": a, "against": b, **_change(logits[a], logits[b])} for a, b in _COMPARED]
    return pd.DataFrame(rows)


def _in_form(model: ParticleTransformer, mass: PairMass, dtype: torch.dtype) -> ParticleTransformer:
    twin = ParticleTransformer(model.config.model_copy(update={"pair_mass": mass}))
    twin.load_state_dict(model.state_dict())
    return twin.to(dtype).eval()


def _change(a: Tensor, b: Tensor) -> dict[str, float]:
    largest = (a - b).abs().amax(1)
    quantiles = {name: largest.quantile(q).item() for name, q in QUANTILES.items()}
    decisions = (a.argmax(1) != b.argmax(1)).double().mean().item()
    return {"n": len(a), **quantiles, "decisions": decisions}
