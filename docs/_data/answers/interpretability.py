"""Answers to exercises of interpretability, as a reader would write them; the tests grade each."""

import torch.nn.functional as F


def logit_lens(residual, weight, bias, unembedding):
    return F.layer_norm(residual, weight.shape, weight, bias) @ unembedding.T


def restored(patched, clean, corrupted):
    return (patched - corrupted) / (clean - corrupted)


def steering_vector(positive, negative):
    return positive[:, -1].mean(dim=0) - negative[:, -1].mean(dim=0)
