"""A world small enough that the optimum of every post-training method is known exactly."""
