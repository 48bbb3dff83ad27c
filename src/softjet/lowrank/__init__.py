"""Ranks learned by soft threshold, for any torch module tree."""
