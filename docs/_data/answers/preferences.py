"""Answers to exercises of preferences, as a reader would write them; the tests grade each."""

import torch
import torch.nn.functional as F


def dpo(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta):
    chosen = beta * (policy_chosen - ref_chosen)
    rejected = beta * (policy_rejected - ref_rejected)
    return -F.logsigmoid(chosen - rejected).mean(), chosen, rejected


def ipo(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta):
    margin = (policy_chosen - ref_chosen) - (policy_rejected - ref_rejected)
    return (margin - 1 / (2 * beta)).square().mean()


def simpo(chosen, n_chosen, rejected, n_rejected, beta):
    margin = chosen / n_chosen - rejected / n_rejected
    return -F.logsigmoid(beta * margin - 0.5).mean()


def kto(ratios, desirable, mismatched, beta, desirable_weight):
    reference_point = mismatched.mean().clamp(min=0)
    above = beta * (ratios - reference_point)
    values = torch.sigmoid(torch.where(desirable, above, -above))
    weights = torch.where(desirable, desirable_weight, 1.0)
    return (weights * (1 - values)).mean()
