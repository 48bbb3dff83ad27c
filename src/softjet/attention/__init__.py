"""Attention of Particle Transformer: recording, nulls and statistics."""
