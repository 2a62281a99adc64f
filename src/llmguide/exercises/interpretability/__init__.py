"""Exercises of interpretability."""
