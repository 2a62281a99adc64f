"""Analyses of models and texts that several projects share."""
