"""Particle Transformer: model, pair features, training, evaluation."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "model": ["ParticleTransformer"],
        "prediction": ["predict"],
        "checkpoint": ["load_part", "save_part"],
        "weaver": ["import_weaver", "export_weaver"],
        "published": ["import_part"],
        "export": ["export_onnx"],
    },
)
