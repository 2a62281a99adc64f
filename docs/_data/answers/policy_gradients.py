"""Answers to exercises of policy gradients, as a reader would write them; the tests grade each."""

import torch


def rlhf_rewards(scores, logp, ref_logp, mask, ended, kl_coef, penalty):
    rewards = -kl_coef * (logp - ref_logp) * mask
    scores = scores - penalty * ~ended
    last = mask.sum(dim=1) - 1
    rewards[torch.arange(len(rewards)), last] += scores
    return rewards


def surrogate(logp, old_logp, advantages, clip):
    ratio = (logp - old_logp).exp()
    clipped = ratio.clamp(1 - clip, 1 + clip)
    return -torch.minimum(ratio * advantages, clipped * advantages)
