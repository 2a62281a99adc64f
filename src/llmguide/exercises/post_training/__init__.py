"""Exercises of post-training."""
