"""Rank learning by soft thresholds on singular values, for any tree of torch modules."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "threshold": ["soft_threshold"],
        "layer": ["SoftThresholdLinear"],
        "low_rank": ["LowRankLinear"],
        "pivot": ["PivotLinear"],
        "learn": ["learn_ranks", "Learned"],
        "fusion": ["as_pairs", "fuse"],
        "shared": ["selection_of", "share_inputs"],
        "export": ["load_compressed", "save_compressed"],
        "budget": ["parameter_counts", "choose_ranks", "Counts", "Shares"],
        "cost": ["linear_macs"],
        "onnx": ["export_onnx"],
    },
)
