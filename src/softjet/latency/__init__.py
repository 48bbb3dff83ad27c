"""Time of one model against another, in pairs of calls that share the machine's moods."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"pairs": ["measure_pair"], "ratio": ["median_ratio", "summarise"]}
)
