"""Exercises of scale and cost."""
