"""Exercises of training data."""
