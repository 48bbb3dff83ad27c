"""Rank learning by soft thresholds on singular values, for any tree of torch modules."""

from softjet.lowrank.budget import Counts, Shares, choose_ranks, parameter_counts
from softjet.lowrank.cost import linear_macs
from softjet.lowrank.export import load_compressed, save_compressed
from softjet.lowrank.fuse import fuse
from softjet.lowrank.layer import LowRankLinear, SoftThresholdLinear
from softjet.lowrank.learn import Learned, learn_ranks
from softjet.lowrank.threshold import soft_threshold

__all__ = [
    "Counts",
    "Learned",
    "LowRankLinear",
    "Shares",
    "SoftThresholdLinear",
    "choose_ranks",
    "fuse",
    "learn_ranks",
    "linear_macs",
    "load_compressed",
    "parameter_counts",
    "save_compressed",
    "soft_threshold",
]
