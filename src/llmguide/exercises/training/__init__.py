"""Exercises of pre-training."""
