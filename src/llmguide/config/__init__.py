"""The sizes and choices that a model is built from. Needs no torch."""
