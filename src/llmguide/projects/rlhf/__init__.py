"""Reinforcement learning from human feedback: the run, its data and its evaluation."""
