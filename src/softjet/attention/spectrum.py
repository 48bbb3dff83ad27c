"""Which jets the singular values of the pair bias U are told of; without torch, since the report reads it."""

FEWEST_PARTICLES = 32
"""A jet of fewer says little about the rank of U, which is at most their number."""

EVERY_SPECTRUM = 32
"""One jet in this many is looked at."""
