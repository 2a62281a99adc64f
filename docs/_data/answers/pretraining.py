"""Answers to exercises of pre-training, as a reader would write them; the tests grade each."""

from math import cos, pi, sqrt

import torch
import torch.nn.functional as F


def next_token_loss(logits, ids):
    predictions, targets = logits[:, :-1], ids[:, 1:]
    return F.cross_entropy(predictions.flatten(0, 1), targets.flatten())


def backward(x, w1, w2, grad):
    hidden = x @ w1.T
    grad_hidden = grad @ w2 * (hidden > 0)
    return grad_hidden @ w1, grad_hidden.T @ x, grad.T @ hidden.relu()


def accumulated_loss(losses, counts):
    return (losses * counts).sum() / counts.sum()


def adamw(param, grad, m, v, step):
    m = 0.9 * m + 0.1 * grad
    v = 0.95 * v + 0.05 * grad.square()
    m_hat = m / (1 - 0.9**step)
    v_hat = v / (1 - 0.95**step)
    param = param * (1 - 0.1 * 0.1)  # learning rate times weight decay
    return param - 0.1 * m_hat / (v_hat.sqrt() + 0.001), m, v


def clip(gradients, max_norm):
    norm = sqrt(sum(gradient.square().sum().item() for gradient in gradients))
    return [gradient * min(1.0, max_norm / norm) for gradient in gradients]


def warmup_cosine(step, n_steps, n_warmup, floor):
    if step <= n_warmup:
        return step / n_warmup
    done = min(1.0, (step - n_warmup) / (n_steps - n_warmup))
    return floor + (1 - floor) * (1 + cos(pi * done)) / 2


def loss_gradient(logits, targets):
    counted = targets != -100
    gradient = logits.softmax(-1)
    rows = torch.arange(len(targets))
    gradient[rows, targets.clamp(min=0)] -= 1
    return gradient * counted[:, None] / max(int(counted.sum()), 1)


def accumulated_gradient(weight, batches):
    total = torch.zeros_like(weight)
    n_targets = 0
    for x, targets in batches:
        n = int((targets != -100).sum())
        total = total + n * loss_gradient(x @ weight.T, targets).T @ x
        n_targets += n
    return total / n_targets


def orthogonalize(matrix):
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    x = x / x.square().sum().sqrt()
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x - 4.775 * gram @ x + 2.0315 * gram @ gram @ x
    return x.T if is_tall else x


def wsd(step, n_steps, n_warmup, n_decay, floor):
    if step <= n_warmup:
        return step / n_warmup
    if step <= n_steps - n_decay:
        return 1.0
    done = min(1.0, (step - (n_steps - n_decay)) / n_decay)
    return 1 - sqrt(done) * (1 - floor)
