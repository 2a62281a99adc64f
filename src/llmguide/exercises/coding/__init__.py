"""Exercises of code and programs around models."""
