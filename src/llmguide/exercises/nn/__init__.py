"""Exercises of the Transformer: attention, positions, norms, experts."""
