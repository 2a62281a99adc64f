"""Answers to exercises of grpo, as a reader would write them; the tests grade each."""

import torch


def fill_batch(sample, n_groups, budget):
    kept, n_sampled = [], 0
    while len(kept) < n_groups and n_sampled < budget:
        prompt, rewards = sample()
        n_sampled += 1
        if any(reward != rewards[0] for reward in rewards):
            kept.append(prompt)
    return kept


def sequence_loss(logp, old_logp, advantages, mask, low, high):
    log_ratios = ((logp - old_logp) * mask).sum(dim=1) / mask.sum(dim=1)
    ratios = log_ratios.exp()
    clipped = ratios.clamp(1 - low, 1 + high)
    return -torch.minimum(ratios * advantages, clipped * advantages).mean()
