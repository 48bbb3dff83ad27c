"""Paired, interleaved time measurement."""
