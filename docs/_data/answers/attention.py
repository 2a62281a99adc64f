"""Answers to exercises of attention, as a reader would write them; the tests grade each."""

import torch


def attention(q, k, v, mask=None):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ v


def causal_mask(T_q, T_k):
    query = torch.arange(T_k - T_q, T_k)[:, None]
    return torch.arange(T_k) <= query


def sliding_window_mask(T, window):
    distance = torch.arange(T)[:, None] - torch.arange(T)
    return (distance >= 0) & (distance < window)


def split_heads(x, n_heads):
    B, T, D = x.shape
    return x.view(B, T, n_heads, D // n_heads).transpose(1, 2)


def repeat_heads(k, n_heads):
    return k.repeat_interleave(n_heads // k.shape[1], dim=1)


def delta_write(state, key, value, beta):
    stored = key @ state
    return state + beta * torch.outer(key, value - stored)
