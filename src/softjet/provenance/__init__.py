"""Where a result comes from: digests, sidecars and whole-or-nothing files."""
