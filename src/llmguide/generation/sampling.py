r"""From logits to the next token: pure filters that reshape the distribution, then one sample.

Each filter maps logits $z$ of shape $(\dots, V)$ to logits of the same shape and dtype and removes a token by
setting its logit to $-\infty$, so filters chain. The order matters: Hugging Face's `generate` applies
repetition penalty, temperature, top-k, top-p, min-p. Each filter equals the Hugging Face processor of its
name bit for bit, except where its docstring names an edge. The filters compute in the dtype of the logits.
Cast half precision to float32 first, as `generate` does: a cumulative sum of 100,000 bfloat16 probabilities
is too inaccurate.

References: top-k (Fan et al. 2018, arXiv:1805.04833), top-p (Holtzman et al. 2019, arXiv:1904.09751), min-p
(Nguyen et al. 2024, arXiv:2407.01082), repetition penalty (Keskar et al. 2019, arXiv:1909.05858, section
4.1).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmguide.arguments import check_tensor

Logits = Float[Tensor, "*B V"]


def temperature(logits: Logits, t: float) -> Logits:
    r"""Divide the logits by `t`: below 1 sharpens the distribution, above 1 flattens it.

    $z / t$. At `t = 0`, where the formula has no value, its limit: all but the most likely token are removed
    (the first of several), so that sampling is greedy. Hugging Face raises there.

    Args:
        logits: Logits of the next token.
        t: Sampling temperature, 0 or above.

    Returns:
        The scaled logits.

    Raises:
        ValueError: `t` is negative, infinite or NaN.

    >>> from llmguide import temperature
    >>> z = torch.tensor([1.0, 3.0, 2.0])
    >>> temperature(z, 2.0).tolist(), temperature(z, 0).tolist()
    ([0.5, 1.5, 1.0], [-inf, 3.0, -inf])
    """
    check_tensor("logits", logits)
    _check_temperature(t)
    if t == 0:
        best = greedy(logits).unsqueeze(-1)
        return torch.full_like(logits, -math.inf).scatter(-1, best, logits.gather(-1, best))
    return logits / t


def top_k(logits: Logits, k: int) -> Logits:
    """Keep the `k` most likely tokens, and every token that ties with the last of them.

    Args:
        logits: Logits of the next token.
        k: Number of tokens to keep, at least 1; `k >= V` changes nothing.

    Returns:
        The logits with the rest at minus infinity.

    Raises:
        ValueError: `k` is below 1.

    >>> from llmguide import top_k
    >>> top_k(torch.tensor([1.0, 3.0, 2.0, 2.0]), 2).tolist()
    [-inf, 3.0, 2.0, 2.0]
    """
    check_tensor("logits", logits)
    _check_top_k(k)
    smallest_kept = logits.topk(min(k, logits.shape[-1])).values[..., -1:]
    return logits.masked_fill(logits < smallest_kept, -math.inf)


def top_p(logits: Logits, p: float) -> Logits:
    """Keep the smallest set of most likely tokens whose probabilities reach `p` (the nucleus).

    At least one token is kept. Of tokens that tie at the border only as many are kept as needed; which ones
    depends on the sort.

    Args:
        logits: Logits of the next token.
        p: Probability to keep, in (0, 1]. 1 changes nothing: Hugging Face's processor would remove tokens
            whose probability underflows to 0, but `generate` leaves it out at 1.

    Returns:
        The logits with the rest at minus infinity.

    Raises:
        ValueError: `p` is outside (0, 1].

    >>> from llmguide import top_p
    >>> z = torch.tensor([0.5, 0.25, 0.125, 0.125]).log()
    >>> top_p(z, 0.7).exp().tolist()  # 0.5 falls short of 0.7, 0.5 + 0.25 reaches it
    [0.5, 0.25, 0.0, 0.0]
    """
    check_tensor("logits", logits)
    _check_top_p(p)
    if p == 1:
        return logits
    ascending, order = logits.sort()
    # summed from the least likely token up: a token is removed if it and all below have at most 1 - p
    remove = ascending.softmax(-1).cumsum(-1) <= 1 - p
    remove[..., -1] = False
    return logits.masked_fill(remove.scatter(-1, order, remove), -math.inf)


def min_p(logits: Logits, p: float) -> Logits:
    """Keep the tokens at least `p` times as likely as the most likely one.

    Args:
        logits: Logits of the next token.
        p: Fraction of the largest probability, in [0, 1]; 0 changes nothing, 1 keeps the most likely.

    Returns:
        The logits with the rest at minus infinity.

    Raises:
        ValueError: `p` is outside [0, 1].

    >>> from llmguide import min_p
    >>> z = torch.tensor([0.5, 0.25, 0.125, 0.125]).log()
    >>> min_p(z, 0.4).exp().tolist()  # 0.4 x 0.5 = 0.2
    [0.5, 0.25, 0.0, 0.0]
    """
    check_tensor("logits", logits)
    _check_min_p(p)
    probabilities = logits.softmax(-1)
    return logits.masked_fill(probabilities < p * probabilities.amax(-1, keepdim=True), -math.inf)


def repetition_penalty(logits: Logits, ids: Int[Tensor, "*B T"], r: float) -> Logits:
    r"""Make the tokens that have occurred less likely: $z / r$ where $z \ge 0$, $z r$ where $z < 0$.

    A token that occurred twice is penalized once. The effect depends on where the zero of the logits lies,
    which the softmax ignores: adding a constant to all logits changes the result.

    Args:
        logits: Logits of the next token.
        ids: Tokens so far, prompt included, with the batch axes of `logits`.
        r: Penalty, above 0; 1 changes nothing, below 1 rewards repetition.

    Returns:
        The logits with those of `ids` penalized.

    Raises:
        ValueError: `r` is not a positive number, an id is outside the vocabulary, or batch axes differ.

    >>> from llmguide import repetition_penalty
    >>> repetition_penalty(torch.tensor([2.0, -1.0, 3.0]), torch.tensor([0, 1, 1]), 2.0).tolist()
    [1.0, -2.0, 3.0]
    """
    check_tensor("logits", logits)
    _check_penalty(logits, ids, r)
    ids = ids.long()
    seen = logits.gather(-1, ids)
    return logits.scatter(-1, ids, torch.where(seen < 0, seen * r, seen / r))


def greedy(logits: Logits) -> Int[Tensor, "*B"]:
    """Pick the most likely token of each row, the first of several.

    Args:
        logits: Logits of the next token.

    Returns:
        One token id for each row.

    Raises:
        ValueError: A row has no largest finite logit.

    >>> greedy(torch.tensor([[1.0, 3.0, 2.0], [5.0, 5.0, 4.0]])).tolist()
    [1, 0]
    """
    check_rows(logits)
    return logits.argmax(-1)


def sample(logits: Logits, generator: torch.Generator | None = None) -> Int[Tensor, "*B"]:
    """Sample one token for each row from the softmax of the logits, computed in float32.

    Args:
        logits: Logits of the next token; minus infinity is never sampled.
        generator: Random number generator, on the device of `logits`; None: PyTorch's global one.

    Returns:
        One token id for each row.

    Raises:
        ValueError: A row holds NaN or plus infinity, or nothing but minus infinity.

    >>> from llmguide import sample
    >>> sample(torch.tensor([[0.0, -torch.inf], [-torch.inf, 0.0]])).tolist()
    [0, 1]
    """
    check_tensor("logits", logits)
    logits = logits.float()
    check_rows(logits)
    probabilities = logits.softmax(-1)
    rows = probabilities.reshape(-1, probabilities.shape[-1])  # multinomial takes at most two axes
    return torch.multinomial(rows, 1, generator=generator).reshape(logits.shape[:-1])


@dataclass(frozen=True)
class Sampler:
    """Samples tokens from logits after filtering them; a filter that is None is left out.

    Attributes:
        temperature: Sampling temperature, 0 or above; 0 is greedy.
        top_k: Number of most likely tokens to sample from, at least 1.
        top_p: Probability of the nucleus to sample from, in (0, 1].
        min_p: Smallest probability to sample, as a fraction of the largest, in [0, 1].
        repetition_penalty: Penalty of tokens that have occurred, above 0; 1 changes nothing.

    >>> from llmguide import Sampler
    >>> Sampler(temperature=0)(torch.tensor([[0.0, 2.0, 1.0]]), torch.tensor([[0]])).tolist()
    [1]
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None

    def filter(self, logits: Logits, ids: Int[Tensor, "*B T"]) -> Logits:
        """Apply the filters in the order of transformers.

        Args:
            logits: Logits of the next token.
            ids: Tokens so far, prompt included.
        """
        if self.repetition_penalty is not None:
            logits = repetition_penalty(logits, ids, self.repetition_penalty)
        logits = temperature(logits, self.temperature)
        if self.top_k is not None:
            logits = top_k(logits, self.top_k)
        if self.top_p is not None:
            logits = top_p(logits, self.top_p)
        if self.min_p is not None:
            logits = min_p(logits, self.min_p)
        return logits

    def __call__(
        self, logits: Logits, ids: Int[Tensor, "*B T"], generator: torch.Generator | None = None
    ) -> Int[Tensor, "*B"]:
        """Sample one token for each row; the arguments are those of `filter` and `sample`."""
        filtered = self.filter(logits, ids)
        return greedy(filtered) if self.temperature == 0 else sample(filtered, generator)


def check_rows(logits: Logits) -> None:
    """Raise ValueError if a row has no finite largest number, of which no distribution can be made."""
    largest = logits.amax(-1)  # NaN wins every comparison here
    if not largest.isfinite().all():
        row = (~largest.isfinite()).nonzero()[0].tolist()
        raise ValueError(
            f"the largest of the logits{row or ''} is {largest[tuple(row)].item()}: nan and inf come from "
            "overflow (use float32 or a higher temperature), -inf from masks that removed every token"
        )


def _check_temperature(t: float) -> None:
    if not 0 <= t < math.inf:
        raise ValueError(f"temperature t={t} must be finite and at least 0; 0 is greedy, 1 changes nothing")


def _check_top_k(k: int) -> None:
    if k < 1:
        raise ValueError(f"top_k k={k} must be at least 1; leave the filter out to keep every token")


def _check_top_p(p: float) -> None:
    if not 0 < p <= 1:
        raise ValueError(f"top_p p={p} must be above 0 and at most 1; for the most likely token use greedy")


def _check_min_p(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"min_p p={p} must be between 0 and 1")


def _check_penalty(logits: Tensor, ids: Tensor, r: float) -> None:
    if not 0 < r < math.inf:
        raise ValueError(f"repetition_penalty r={r} must be a positive number; 1 changes nothing")
    vocab_size = logits.shape[-1]
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < vocab_size:
        raise ValueError(
            f"ids reach from {int(ids.min())} to {int(ids.max())}, but the logits are for ids 0 to "
            f"{vocab_size - 1}: pass the ids of this model's tokenizer, without padding"
        )
    if ids.shape[:-1] != logits.shape[:-1]:  # gather would take the first rows only
        raise ValueError(
            f"ids {tuple(ids.shape)} and logits {tuple(logits.shape)} differ in the axes before the last; "
            "pass one row of ids for each row of logits"
        )
