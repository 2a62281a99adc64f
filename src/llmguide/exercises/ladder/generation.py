"""The rungs of the ladder that generate text: the sampling loop, and the key/value cache."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from llmguide.exercises.grading import Arguments, Exercise, Mistake
from llmguide.exercises.ladder.text import embed
from llmguide.exercises.ladder.training import batches_of
from llmguide.exercises.ladder.transformer import EPS, feed_forward, gpt
from llmguide.exercises.ladder.weights import TEXT, Weights, make_weights
from llmguide.nn.norms import rms_norm
from llmguide.tokenization.bpe import learn_merges_simple

# ---- the sampling loop -------------------------------------------------------------------------------------


def write(
    ids: list[int],
    uniforms: list[float],
    weights: Weights,
    n_heads: int,
    temperature: float,
    *,
    window: Callable[[list[int], int], list[int]] = lambda ids, n: ids[-n:],
    position: int = -1,
) -> list[int]:
    """Extend a text by one token for each random number, with switches for the mistakes."""
    ids = list(ids)
    for uniform in uniforms:
        seen = window(ids, len(weights["positions"]))
        logits = gpt(torch.tensor([seen]), weights, n_heads)[0, position]
        cumulative = (logits / temperature).softmax(-1).cumsum(-1)
        ids.append(int((cumulative <= uniform).sum()))
    return ids


def _greedy(
    ids: list[int], uniforms: list[float], weights: Weights, n_heads: int, temperature: float
) -> list[int]:
    return write(ids, uniforms, weights, n_heads, 1e-4)


def _write_probes() -> list[Arguments]:
    random = Random(0)
    uniforms = [0.02 + 0.96 * random.random() for _ in range(24)]
    return [
        ([3, 1, 4], uniforms, make_weights(9, 6, 2, 8, std=0.3), 2, 0.7),
        ([5], uniforms[:4], make_weights(9, 6, 1, 8, std=0.3, seed=1), 4, 1.6),
    ]


def own_text(functions: dict[str, Callable[..., Any]]) -> str:
    """Train a model with the reader's functions, and let it write."""
    merges = learn_merges_simple(Counter(f" {word}".encode() for word in TEXT.split()), 60)
    ids = functions["encode"](TEXT, merges)
    weights = make_weights(256 + len(merges), 24, 1, 32, std=0.1)
    losses = functions["train"](batches_of(ids, 200, 8, 24), weights, 4, 0.01)
    random = Random(1)
    prompt = functions["encode"]("Four score and", merges)
    written = functions["write"](prompt, [random.random() for _ in range(60)], weights, 4, 0.5)
    return (
        f"Your own tokenizer, model, training loop and sampling loop, after {len(losses)} steps on "
        "Lincoln's address "
        f"(loss {losses[0]:.2f} to {losses[-1]:.2f} nats per token), "
        f"write:\n{functions['decode'](written, merges)}"
    )


# ---- the cache ---------------------------------------------------------------------------------------------


def gpt_cached(
    ids: Tensor,
    weights: Weights,
    n_heads: int,
    cache: dict[Any, Any],
    *,
    moving: bool = True,
    aligned: bool = True,
    keep: bool = True,
    inputs: bool = False,
    key: Callable[[int], int] = lambda layer: layer,
) -> Tensor:
    """Compute the logits of new tokens with a key/value cache, with switches for the mistakes."""
    start = cache.get("length", 0)
    B, T, D = *ids.shape, weights["tokens"].shape[1]
    x = embed(ids, weights, start if moving else 0)
    for i, layer in enumerate(weights["layers"]):
        normed = rms_norm(x, layer["norm_1"], EPS)
        read = normed
        if inputs:
            read = cache[key(i)] = torch.cat([cache.get(key(i), normed[:, :0]), normed], dim=1)
        q, k, v = (
            (source @ layer[name].T).view(B, -1, n_heads, D // n_heads).transpose(1, 2)
            for name, source in (("q", normed), ("k", read), ("v", read))
        )
        if keep and not inputs and key(i) in cache:
            k, v = (torch.cat(pair, dim=2) for pair in zip(cache[key(i)], (k, v), strict=True))
        if not inputs:
            cache[key(i)] = k, v
        scores = q @ k.mT * q.shape[-1] ** -0.5
        past = k.shape[2] - T if aligned else 0
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(past + 1)
        heads = scores.masked_fill(future, -torch.inf).softmax(-1) @ v
        x = x + heads.transpose(1, 2).reshape(B, T, D) @ layer["o"].T
        x = x + feed_forward(rms_norm(x, layer["norm_2"], EPS), layer)
    cache["length"] = start + T
    logits: Tensor = rms_norm(x, weights["norm"], EPS) @ weights["tokens"].T
    return logits


def _whole_text_again(ids: Tensor, weights: Weights, n_heads: int, cache: dict[Any, Any]) -> Tensor:
    cache["ids"] = torch.cat([cache["ids"], ids], dim=1) if cache else ids
    return gpt(cache["ids"], weights, n_heads)[:, -ids.shape[1] :]


class _Work(TorchFunctionMode):
    """Counts the numbers that matrix products compute."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "").strip("_") in {"matmul", "rmatmul", "linear", "einsum", "mm", "bmm"}:
            self.numbers += result.numel()
        return result


def _work(function: Callable[..., Any], arguments: Arguments) -> tuple[list[Any], int]:
    """Feed a text in chunks with one cache; return the results, and the work after the first chunk."""
    ids, sizes, weights, n_heads = arguments
    cache: dict[Any, Any] = {}
    first, *chunks = ids.split(sizes, dim=1)
    results = [function(first, weights, n_heads, cache)]
    with _Work() as work:
        results += [function(chunk, weights, n_heads, cache) for chunk in chunks]
    return results, work.numbers


def _cached(function: Callable[..., Any], arguments: Arguments) -> tuple[list[Any], str]:
    """Observe the logits of a text read in chunks, and how much is computed again."""
    results, work = _work(function, arguments)
    needed = _work(gpt_cached, arguments)[1]
    return (
        results,
        "nothing again" if work <= 1.25 * needed else "all again" if work > 2 * needed else "some again",
    )


def _cache_probes() -> list[Arguments]:
    ids = torch.randint(9, (2, 12), generator=torch.Generator().manual_seed(0))
    return [(ids, [4, 1, 3, 1, 1, 2], make_weights(9, 12, 2, 12), 3)]


EXERCISES = (
    Exercise(
        "write",
        "write(ids, uniforms, weights, n_heads, temperature) samples one token for each number in the list "
        "`uniforms` and returns the list `ids` with the new ones at its end. Each number is uniform in [0, "
        "1). The tokens divide that interval in the order of their ids, each with a segment as long as its "
        "probability; the next token is the one on whose segment the number falls. The model reads as much "
        "of the end of the text as it has positions.",
        write,
        _write_probes,
        (
            Mistake(
                "temperature upside down",
                "the logits are multiplied by the temperature",
                "A low temperature makes the distribution sharper.",
                lambda ids, uniforms, weights, n_heads, t: write(ids, uniforms, weights, n_heads, 1 / t),
            ),
            Mistake(
                "temperature ignored",
                "the temperature is 1",
                "Apply the temperature to the logits, before the softmax.",
                lambda ids, uniforms, weights, n_heads, t: write(ids, uniforms, weights, n_heads, 1.0),
            ),
            Mistake(
                "prompt not returned",
                "only the new tokens are returned",
                "Return the list that was given, extended.",
                lambda ids, *rest: write(ids, *rest)[len(ids) :],
            ),
            Mistake(
                "greedy",
                "the most likely token is taken, whatever the random number",
                "Add up the probabilities until the sum passes the random number.",
                _greedy,
            ),
            Mistake(
                "start of the text kept",
                "the model reads the first tokens when the text is too long",
                "What comes next depends on the end of the text.",
                partial(write, window=lambda ids, n: ids[:n]),
            ),
            Mistake(
                "one token of context",
                "the model reads only the last token",
                "Without a cache, every step reads the text so far.",
                partial(write, window=lambda ids, n: ids[-1:]),
            ),
            Mistake(
                "logits of the first position",
                "the next token is predicted from the first position",
                "The logits of the last position are about the token that is missing.",
                partial(write, position=0),
            ),
        ),
        (
            "One token at a time: the text so far, the logits of its last position, probabilities, a token.",
            "How many tokens can the model read? Look at the table of positions.",
            "Cumulative sums turn probabilities into the ends of the segments. How many ends are at or "
            "below the random number?",
        ),
        needs=("gpt", "encode", "decode", "train"),
        level="medium",
        minutes=15,
        after="Sampling is a loop around the model: what is random is outside it. Top-k, top-p and min-p "
        "change the probabilities before a token is sampled, and nothing else.",
        demo=own_text,
    ),
    Exercise(
        "kv-cache",
        "gpt_cached(ids, weights, n_heads, cache) returns the logits (B, T, V) of the new tokens `ids` (B, "
        "T), which follow all tokens of earlier calls with the same `cache`. The cache is a dict, empty at "
        "first, in which you keep what you like. The logits must be those of gpt on the whole text, and "
        "nothing may be computed again for earlier tokens: the matrix products are counted.",
        gpt_cached,
        _cache_probes,
        (
            Mistake(
                "the whole text again",
                "the text so far is stored and read from the beginning in every call",
                "The logits are right, but nothing is saved. Store what attention needs of earlier tokens.",
                _whole_text_again,
            ),
            Mistake(
                "inputs stored instead of keys and values",
                "the inputs of attention are stored, and all keys and values are computed from them again",
                "The logits are right. The products with k and v need not be repeated: store their results.",
                partial(gpt_cached, inputs=True),
            ),
            Mistake(
                "one cache for all layers",
                "all layers append to the same keys and values",
                "Each layer has keys and values of its own.",
                partial(gpt_cached, key=lambda layer: 0),
            ),
            Mistake(
                "positions restart",
                "each call starts at position 0",
                "The first new token follows all tokens in the cache.",
                partial(gpt_cached, moving=False),
            ),
            Mistake(
                "mask aligned at the top left",
                "the first new token may attend to the first key only",
                "Query i is at position i plus the number of cached tokens, and everything up to there is "
                "visible.",
                partial(gpt_cached, aligned=False),
            ),
            Mistake(
                "cache overwritten",
                "only the keys and values of the last call are kept",
                "New keys and values go behind the old ones.",
                partial(gpt_cached, keep=False),
            ),
        ),
        (
            "What does attention need of earlier tokens? Their queries are not among it.",
            "Keep keys and values for each layer, and the number of tokens so far for the positions.",
            "The new queries attend to old and new keys: which of them are in the future of query i?",
        ),
        needs=("embed", "rms-norm", "gpt"),
        level="hard",
        minutes=40,
        after="A step now costs one token instead of a whole text. The price is memory: keys and values of "
        "every layer for every token, which is what limits long contexts and large batches in serving.",
        observe=_cached,
    ),
)
