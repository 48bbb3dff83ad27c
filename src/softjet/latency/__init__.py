"""Time of one model against another, in pairs of calls that share the machine's moods."""

from softjet.latency.pairs import measure_pair
from softjet.latency.ratio import median_ratio, summarise

__all__ = ["measure_pair", "median_ratio", "summarise"]
