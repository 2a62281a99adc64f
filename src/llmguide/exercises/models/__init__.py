"""Exercises of models and their families."""
