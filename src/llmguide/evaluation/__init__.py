"""Evaluation: likelihoods, metrics with their confidence intervals, and an n-gram baseline."""
