"""Reinforcement learning: rollouts, policy gradients, PPO, GRPO, verifiable rewards."""
