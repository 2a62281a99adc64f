"""Wrong versions of parts, written by learners: the part, the name of the mistake, and the function."""

import math
from collections import Counter
from functools import partial

import torch


def compares_with_the_loss_before(losses, patience):
    best, bad = 0, 0
    for i in range(1, len(losses)):
        if losses[i] < losses[best]:
            best = i
        bad = bad + 1 if losses[i] >= losses[i - 1] else 0
        if bad == patience:
            break
    return best


def last_of_equal_losses(losses, patience):
    best, bad = 0, 0
    for i, loss in enumerate(losses):
        if loss <= losses[best]:
            best, bad = i, 0
        else:
            bad += 1
        if bad == patience:
            break
    return best


def tie_resets(losses, patience):
    best, bad = 0, 0
    for i, loss in enumerate(losses):
        if loss < losses[best]:
            best, bad = i, 0
        elif loss == losses[best]:
            bad = 0
        else:
            bad += 1
        if bad == patience:
            break
    return best


def last_unless_stopped(losses, patience):
    best, bad = losses[0], 0
    for i, loss in enumerate(losses[1:], 1):
        best, bad = (loss, 0) if loss < best else (best, bad + 1)
        if bad == patience:
            return i - patience
    return len(losses) - 1


def waits_one_more(losses, patience, more=1):
    best, bad = 0, 0
    for i, loss in enumerate(losses[1:], 1):
        best, bad = (i, 0) if loss < losses[best] else (best, bad + 1)
        if bad >= patience + more:
            break
    return best


def scaled(block, scale):
    codes = torch.tensor(NF4)
    return scale * codes[(block[:, None] / scale - codes).abs().argmin(1)]


NF4 = [
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
    *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
    *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941),
    *(0.7229568362236023, 1.0),
]


def cut_by_value(logits, p):
    ordered = logits.sort(descending=True).values
    probabilities = ordered.softmax(-1)
    least = ordered[(probabilities.cumsum(-1) - probabilities < p).sum() - 1]
    return logits.masked_fill(logits < least, -torch.inf)


def drops_but_the_first(logits, p):
    ordered, order = logits.sort(descending=True)
    drop = ordered.softmax(-1).cumsum(-1) > p
    drop[0] = False
    return logits.masked_fill(torch.zeros_like(drop).scatter(0, order, drop), -torch.inf)


ABSTAINS = "I do not know that name."


def rates(answers, correct, *, counts=lambda a, c: c, abstains=lambda a: a == ABSTAINS):
    pairs = list(zip(answers, correct, strict=True))
    right = [a == c for a, c in pairs if counts(a, c)]
    known = [abstains(a) for a, c in pairs if c]
    unknown = [abstains(a) for a, c in pairs if not c]
    return sum(right) / len(right), sum(known) / len(known), sum(unknown) / len(unknown)


def without_ties(chosen, rejected):
    higher = [a > b for a, b in zip(chosen, rejected, strict=True) if a != b]
    return sum(higher) / len(higher)


def similarity(a, b, n, *, dice=False, last=1, join=tuple):
    a, b = ({join(words[i : i + n]) for i in range(len(words) - n + last)} for words in (a, b))
    return 2 * len(a & b) / (len(a) + len(b)) if dice else len(a & b) / len(a | b)


@torch.no_grad()
def without_gradients(x, W, A, B, alpha):
    return x @ W.T + alpha / len(A) * x @ A.T @ B.T


def turns(messages, *, bit=False, end=True, every_end=False):
    ids, mask = [], []
    for role, content in messages:
        ids += [1, {"user": 3, "assistant": 4}[role], *content, 2]
        learned = role == "assistant"
        mask += [False, False, *[learned] * len(content), (learned and end) or every_end]
    return ids, [int(m) for m in mask] if bit else mask


def next_tokens(prompt, answer):
    return (prompt + answer)[1:]


def positions_of(documents):
    seen = Counter()
    found = []
    for document in documents:
        found.append(seen[document])
        seen[document] += 1
    return found


WRONG = [
    ("best-step", "compared with the loss before", compares_with_the_loss_before),
    ("best-step", "last of equal losses", last_of_equal_losses),
    ("best-step", "a tie resets the count", tie_resets),
    ("best-step", "last if training does not stop early", last_unless_stopped),
    ("best-step", "stops one evaluation late", waits_one_more),
    (
        "best-step",
        "stops one evaluation early",
        partial(waits_one_more, more=-1),
    ),
    (
        "sft-targets",
        "prompt hidden by value",
        lambda prompt, answer: [-100 if t in prompt else t for t in next_tokens(prompt, answer)],
    ),
    (
        "sft-targets",
        "answer found by value",
        lambda prompt, answer: [t if t in answer else -100 for t in next_tokens(prompt, answer)],
    ),
    (
        "sft-targets",
        "last token of the answer hidden",
        lambda prompt, answer: [-100] * (len(prompt) - 1) + answer[:-1] + [-100],
    ),
    (
        "sft-targets",
        "Tensor for list",
        lambda prompt, answer: torch.tensor([-100] * (len(prompt) - 1) + answer),
    ),
    ("four-bits", "scale from the smallest number", lambda block, codes: scaled(block, -block.min())),
    (
        "four-bits",
        "indices returned",
        lambda block, codes: (block[:, None] / block.abs().max() - codes).abs().argmin(1),
    ),
    (
        "lora",
        "scale rounded down",
        lambda x, W, A, B, alpha: x @ W.T + alpha // A.shape[0] * x @ A.T @ B.T,
    ),
    (
        "lora",
        "divided by the number of inputs",
        lambda x, W, A, B, alpha: x @ W.T + alpha / A.shape[1] * x @ A.T @ B.T,
    ),
    (
        "lora",
        "divided by the number of outputs",
        lambda x, W, A, B, alpha: x @ W.T + alpha / B.shape[0] * x @ A.T @ B.T,
    ),
    ("lora", "no gradient", without_gradients),
    (
        "lora",
        "no gradient",
        lambda x, W, A, B, alpha: x @ W.T + alpha / len(A) * x @ A.detach().T @ B.detach().T,
    ),
    (
        "lora",
        "no gradient",
        lambda x, W, A, B, alpha: x @ W.T + alpha / len(A) * x @ A.detach().T @ B.T,
    ),
    (
        "lora",
        "no gradient",
        lambda x, W, A, B, alpha: x.detach() @ W.T + alpha / len(A) * x.detach() @ A.T @ B.T,
    ),
    (
        "easy-first",
        "rounded before it is multiplied",
        lambda examples, step, n_steps: [
            text
            for text, _ in sorted(examples, key=lambda each: each[1])[
                : math.ceil((step + 1) / n_steps * len(examples))
            ]
        ],
    ),
    ("abstention-rates", "accuracy over all questions", partial(rates, counts=lambda a, c: True)),
    (
        "abstention-rates",
        "accuracy without abstentions",
        partial(rates, counts=lambda a, c: c and a != ABSTAINS),
    ),
    ("abstention-rates", "", partial(rates, abstains=lambda a: a.lower() == ABSTAINS.lower())),
    ("pair-accuracy", "ties left out", without_ties),
    ("similarity", "Dice coefficient", partial(similarity, dice=True)),
    ("similarity", "last n-gram left out", partial(similarity, last=0)),
    ("similarity", "", partial(similarity, join="".join)),
    ("similarity", "", partial(similarity, join=lambda words: tuple(sorted(words)))),
    ("lora-params", "", lambda shapes, rank: sum(rank * (a + b) + 1 for a, b in shapes)),
    ("top-p", "all ties kept", cut_by_value),
    ("top-p", "only the first token may cross p", drops_but_the_first),
    ("turn-mask", "int for bool", lambda messages: turns(messages, bit=True)),
    ("turn-mask", "end of the turn not learned", lambda messages: turns(messages, end=False)),
    ("turn-mask", "end of every turn learned", lambda messages: turns(messages, every_end=True)),
    ("packed-positions", "Tensor for list", lambda documents: torch.tensor(positions_of(documents))),
]
