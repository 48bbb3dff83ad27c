"""softjet: opens up Particle Transformer and makes transformers smaller and faster."""
