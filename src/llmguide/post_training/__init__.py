"""Post-training: chat formats, supervised fine-tuning, preferences, reinforcement learning, adapters."""
