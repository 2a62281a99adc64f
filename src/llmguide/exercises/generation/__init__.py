"""Exercises of generation."""
