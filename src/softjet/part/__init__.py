"""Particle Transformer: model, pair features, training, evaluation."""
