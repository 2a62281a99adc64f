"""The reward model: the run, its comparisons, its training and its evaluation."""
