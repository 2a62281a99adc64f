"""Continued pre-training: the run, its data and its evaluation."""
