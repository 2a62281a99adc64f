"""Learning from preferences: reward models, DPO and its variants."""
