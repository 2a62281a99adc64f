"""Instruction tuning: from a base model to one that follows instructions."""
