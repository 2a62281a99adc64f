"""Answers to exercises of interpretability, as a reader would write them; the tests grade each."""

import torch
import torch.nn.functional as F


def logit_lens(residual, weight, bias, unembedding):
    return F.layer_norm(residual, weight.shape, weight, bias) @ unembedding.T


def restored(patched, clean, corrupted):
    return (patched - corrupted) / (clean - corrupted)


def steering_vector(positive, negative):
    return positive[:, -1].mean(dim=0) - negative[:, -1].mean(dim=0)


def topk_features(x, encoder, bias, k):
    scores = (x - bias) @ encoder.T
    values, indices = scores.topk(k, dim=-1)
    return torch.zeros_like(scores).scatter(-1, indices, values.relu())


def evaluate_sae(x, encoder, decoder, bias, k):
    features = topk_features(x, encoder, bias, k)
    active = features != 0
    errors = x - (features @ decoder + bias)
    deviations = x - x.mean(dim=0)
    explained = 1 - errors.square().sum() / deviations.square().sum()
    l0 = active.sum(dim=1).float().mean()
    dead = (~active.any(dim=0)).float().mean()
    return l0.item(), explained.item(), dead.item()
