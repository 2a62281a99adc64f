"""Pre-training: losses, schedules, optimizers, the training loop, checkpoints, several processes."""
