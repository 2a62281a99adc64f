"""Exercises of tokenization."""
