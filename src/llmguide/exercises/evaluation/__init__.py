"""Exercises of evaluation: counts as a model of text, cross-entropy, perplexity."""
