"""The exercises of the ladder that generate text: the sampling loop and the key/value cache."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import torch
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, generator
from llmguide.exercises.ladder.text import embed
from llmguide.exercises.ladder.training import batches_of
from llmguide.exercises.ladder.transformer import EPS, feed_forward, gpt
from llmguide.exercises.ladder.weights import TEXT, Weights, make_weights
from llmguide.exercises.tensor_work import TensorWork
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
    """Train a model with the reader's functions, and sample from it."""
    merges = learn_merges_simple(Counter(f" {word}".encode() for word in TEXT.split()), 60)
    ids = functions["encode"](TEXT, merges)
    weights = make_weights(256 + len(merges), 24, 1, 32, std=0.1)
    losses = functions["train"](batches_of(ids, 200, 8, 24), weights, 4, 0.01)
    random = Random(1)
    prompt = functions["encode"]("Four score and", merges)
    written = functions["write"](prompt, [random.random() for _ in range(60)], weights, 4, 0.5)
    return (
        f"Your functions have trained a model for {len(losses)} steps on Lincoln's Gettysburg Address. The "
        f"loss fell from {losses[0]:.2f} to {losses[-1]:.2f} nats per token. A sample from it:\n"
        f"{functions['decode'](written, merges)}"
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


def _work(function: Callable[..., Any], arguments: Arguments) -> tuple[list[Any], int]:
    """Pass a text in chunks with one cache; return the results and the work after the first chunk."""
    ids, sizes, weights, n_heads = arguments
    cache: dict[Any, Any] = {}
    first, *chunks = ids.split(sizes, dim=1)
    results = [function(first, weights, n_heads, cache)]
    with TensorWork() as work:
        results += [function(chunk, weights, n_heads, cache) for chunk in chunks]
    return results, work.products


def _cached(function: Callable[..., Any], arguments: Arguments) -> tuple[list[Any], str]:
    """Observe the logits of a text that is passed in chunks, and how much is recomputed."""
    results, work = _work(function, arguments)
    needed = _work(gpt_cached, arguments)[1]
    return (
        results,
        "nothing again" if work <= 1.25 * needed else "all again" if work > 2 * needed else "some again",
    )


def _cache_probes() -> list[Arguments]:
    ids = torch.randint(9, (2, 12), generator=generator(0))
    return [(ids, [4, 1, 3, 1, 1, 2], make_weights(9, 12, 2, 12), 3)]


EXERCISES = (
    Exercise(
        "write",
        "write(ids, uniforms, weights, n_heads, temperature) samples one token for each random number in the "
        "list `uniforms`, and returns a new list: `ids` followed by the sampled ids. `ids` is a list of at "
        "least one id; do not change it. The temperature is above 0. Each random number is uniform in [0, "
        "1). In the order of their ids, the tokens divide this interval into segments whose lengths are "
        "their probabilities, and the next token is the one whose segment contains the number. If the text "
        "has more tokens than the table of positions has rows, the model reads only the last ones, as many "
        "as there are rows.",
        write,
        _write_probes,
        (
            Mistake(
                "temperature upside down",
                "the logits are multiplied by the temperature",
                "Divide the logits by the temperature: a low temperature makes the distribution sharper.",
                lambda ids, uniforms, weights, n_heads, t: write(ids, uniforms, weights, n_heads, 1 / t),
            ),
            Mistake(
                "temperature ignored",
                "the temperature is 1",
                "Divide the logits by the temperature before the softmax.",
                lambda ids, uniforms, weights, n_heads, t: write(ids, uniforms, weights, n_heads, 1.0),
            ),
            Mistake(
                "prompt not returned",
                "only the new tokens are returned",
                "Return the given ids followed by the new ids.",
                lambda ids, *rest: write(ids, *rest)[len(ids) :],
            ),
            Mistake(
                "greedy",
                "the most likely token is chosen, whatever the random number is",
                "Add up the probabilities in the order of the ids until the sum exceeds the random number.",
                _greedy,
            ),
            Mistake(
                "start of the text kept",
                "the model reads the first tokens if the text is too long",
                "Keep the last tokens, because the next token follows the end of the text.",
                partial(write, window=lambda ids, n: ids[:n]),
            ),
            Mistake(
                "one token of context",
                "the model reads only the last token",
                "Without a cache, the model has to read the text so far at every step.",
                partial(write, window=lambda ids, n: ids[-1:]),
            ),
            Mistake(
                "logits of the first position",
                "the next token is sampled from the logits of the first position",
                "The logits of the last position predict the next token.",
                partial(write, position=0),
            ),
        ),
        (
            "Sample one token at a time: pass the text so far to the model, turn the logits of its last "
            "position into probabilities, and choose a token.",
            "How many tokens can the model read? Look at the table of positions.",
            "The cumulative sums of the probabilities are the right ends of the segments. How many of these "
            "ends are at or below the random number?",
        ),
        needs=("gpt",),
        level="medium",
        minutes=15,
        after="Sampling is a loop around the model, and all the randomness is in the loop. Top-k, top-p and "
        "min-p only change the probabilities from which a token is sampled.",
        demo=own_text,
        demo_needs=("encode", "decode", "train"),
    ),
    Exercise(
        "kv-cache",
        "gpt_cached(ids, weights, n_heads, cache) returns the logits (B, T, V) at the positions of the new "
        "tokens `ids` (B, T), which follow all tokens of the earlier calls with the same `cache`. `cache` is "
        "a dict that is empty at the first call; change it in place to store whatever you need. The logits "
        "must equal those of gpt on the whole text at these positions. Compute nothing again for earlier "
        "tokens: the test counts the work of the matrix products.",
        gpt_cached,
        _cache_probes,
        (
            Mistake(
                "the whole text again",
                "the ids so far are stored, and every call computes the whole text again",
                "The logits are right, but no work is saved. Store the keys and values of the earlier "
                "tokens.",
                _whole_text_again,
            ),
            Mistake(
                "inputs stored instead of keys and values",
                "the inputs of attention are stored, and all keys and values are computed from them again",
                "The logits are right, but the products with k and v are repeated. Store the keys and "
                "values.",
                partial(gpt_cached, inputs=True),
            ),
            Mistake(
                "one cache for all layers",
                "all layers append to the same keys and values",
                "Each layer has its own keys and values.",
                partial(gpt_cached, key=lambda layer: 0),
            ),
            Mistake(
                "positions restart",
                "each call starts at position 0",
                "The position of the first new token is the number of tokens in the cache.",
                partial(gpt_cached, moving=False),
            ),
            Mistake(
                "mask aligned at the top left",
                "the first new token may attend to the first key only",
                "Query i is at position i plus the number of cached tokens, and it may attend to all keys up "
                "to that position.",
                partial(gpt_cached, aligned=False),
            ),
            Mistake(
                "cache overwritten",
                "only the keys and values of the last call are kept",
                "Append the new keys and values to those in the cache.",
                partial(gpt_cached, keep=False),
            ),
        ),
        (
            "Which tensors of the earlier tokens does attention need? It does not need their queries.",
            "Store the keys and values of each layer, and the number of tokens so far for the positions.",
            "The new queries attend to old and new keys. Which keys are in the future of query i?",
        ),
        needs=("embed", "rms-norm", "gpt"),
        level="hard",
        minutes=40,
        after="A decoding step now computes one token instead of the whole text. In return, the keys and "
        "values of every token in every layer take memory, which often limits the context length and the "
        "batch size in serving.",
        observe=_cached,
    ),
)
