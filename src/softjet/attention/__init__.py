"""Attention of Particle Transformer: recorded as the model computes it, beside nulls, and what it says."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"recording": ["record"], "topk": ["with_top_k"]}
)
