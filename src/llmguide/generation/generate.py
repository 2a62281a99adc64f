"""Autoregressive generation: sample the next token, append it, repeat.

`stream` is the loop and yields each token as it is sampled; `generate` collects them. With the key/value
cache a step computes one token; without it the whole text is run again, which defines the result that the
cache has to match. Cached steps run through `llmguide.generation._fast_decoding`, which computes the model's
logits with fewer operations.

A decoder continues its prompt. An encoder-decoder encodes the ids as its source and generates from a start
token.

The filters of the distribution are those of `llmguide.generation.sampling`, in the order of transformers.
`llmguide.generation.beam_search` and `llmguide.generation.speculative` are other ways to generate.

Leaves out: continuous batching, paged caches, constrained decoding. To serve a
model, export it with `llmguide.models.to_hf`.

Glossary: ``B`` rows, ``T`` tokens of the prompt, ``T_out`` tokens of prompt and completion.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import cast

import torch
from jaxtyping import Int
from torch import Tensor

from llmguide.generation.checks import check_request, check_sampled
from llmguide.generation.sampling import Sampler
from llmguide.generation.steps import CachedSteps, LanguageModel, encode_source, next_logits
from llmguide.models.decoder_protocol import Decoder
from llmguide.models.inputs import AttentionMask

SampleTokens = Callable[[Tensor, Tensor, torch.Generator | None], Tensor]  # see `generate`


def generate(
    model: LanguageModel,
    ids: Int[Tensor, "B T"],
    max_new_tokens: int,
    *,
    attention_mask: AttentionMask | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    sampler: SampleTokens | None = None,
    eos_id: int | None = None,
    start_id: int | None = None,
    generator: torch.Generator | None = None,
    use_cache: bool = True,
) -> Int[Tensor, "B T_out"]:
    """Generate a completion of each prompt, token by token.

    Args:
        model: A decoder or encoder-decoder of `llmguide.models`, in evaluation mode, or a model of your own
            with the methods of `llmguide.Decoder`. With ``use_cache=False``, any function from ids to logits.
        ids: Prompts, padded on the left if their lengths differ; for an encoder-decoder the sources, padded
            on any side.
        max_new_tokens: Largest number of tokens to add, 0 or more.
        attention_mask: 1 for real tokens of ``ids`` and 0 for padding; needed if there is any.
        temperature: Sampling temperature, 0 or above; 0 is greedy.
        top_k: Number of most likely tokens to sample from; None: all.
        top_p: Probability of the nucleus to sample from, in (0, 1]; None: all tokens.
        min_p: Smallest probability to sample, as a fraction of the largest, in [0, 1]; None: no limit.
        repetition_penalty: Penalty of tokens that have occurred, above 0; None: no penalty.
        sampler: Function from the logits of the next token, the tokens so far and the generator to one token
            for each row, in place of the five settings above; None: `Sampler` with these.
        eos_id: End-of-text token. A row ends with it and is padded with it while others continue; None: rows
            have full length.
        start_id: Decoder start token, for encoder-decoders only.
        generator: Random number generator; the same seed gives the same text on the same machine.
        use_cache: Whether to use a key/value cache instead of running the whole text again for each token.

    Returns:
        Prompts (of an encoder-decoder, the start token) with their completions; shorter than
        ``T + max_new_tokens`` if every row ended early.

    Raises:
        ValueError: The model is an encoder, the text would exceed the learned positions, dropout is active,
            or an argument or what a sampler returns is out of range.

    >>> from llmguide import generate
    >>> def successor(ids):  # a model that is sure of the next number
    ...     return 100.0 * torch.nn.functional.one_hot((ids + 1) % 5, 5)
    >>> generate(successor, torch.tensor([[1]]), 6, temperature=0, use_cache=False).tolist()
    [[1, 2, 3, 4, 0, 1, 2]]
    >>> generate(successor, torch.tensor([[1], [3]]), 6, eos_id=4, use_cache=False).tolist()
    [[1, 2, 3, 4], [3, 4, 4, 4]]
    """
    settings = Sampler(temperature, top_k, top_p, min_p, repetition_penalty)
    if sampler is not None and settings != Sampler():
        raise ValueError(f"{settings} and a sampler were given; put these settings into the sampler")
    decoder, ids, attention_mask = encode_source(model, ids, attention_mask, start_id)
    tokens = stream(
        decoder,
        ids,
        max_new_tokens,
        attention_mask=attention_mask,
        sampler=sampler or settings,
        eos_id=eos_id,
        generator=generator,
        use_cache=use_cache,
    )
    return torch.cat([ids, *(token[:, None] for token in tokens)], dim=1)


def stream(
    model: LanguageModel,
    ids: Int[Tensor, "B T"],
    max_new_tokens: int,
    *,
    attention_mask: AttentionMask | None = None,
    sampler: SampleTokens | None = None,
    eos_id: int | None = None,
    start_id: int | None = None,
    generator: torch.Generator | None = None,
    use_cache: bool = True,
) -> Iterator[Int[Tensor, " B"]]:
    """Yield the new tokens of `generate` as they are sampled, one for each row.

    The arguments are those of `generate`; without a sampler, it is `Sampler()`.

    >>> def successor(ids):
    ...     return 100.0 * torch.nn.functional.one_hot((ids + 1) % 5, 5)
    >>> [token.item() for token in stream(successor, torch.tensor([[2]]), 3, use_cache=False)]
    [3, 4, 0]
    """
    decoder, ids, attention_mask = encode_source(model, ids, attention_mask, start_id)
    check_request(decoder, ids, max_new_tokens, attention_mask, eos_id)
    sampler = sampler or Sampler()
    T, end = ids.shape[1], ids.shape[1] + max_new_tokens
    text = torch.cat([ids, ids.new_zeros(len(ids), max_new_tokens)], dim=1)
    mask, seen = attention_mask, text
    if mask is not None:
        mask = torch.cat([mask.bool(), mask.new_ones(len(ids), max_new_tokens).bool()], dim=1)
        # padding must not count as repeated, so the last token of the prompt, which is real, replaces it
        seen = torch.where(mask, text, ids[:, -1:])
    score: Callable[[Tensor, Tensor | None], Tensor] = (
        CachedSteps(cast(Decoder, decoder), rows=len(ids), n_tokens=end, n_steps=max_new_tokens)
        if use_cache
        else partial(next_logits, decoder)
    )
    ended = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    for n in range(T, end):
        logits = score(text[:, :n], None if mask is None else mask[:, :n])
        if isinstance(sampler, Sampler):
            token = sampler(logits, seen[:, :n], generator)
        else:
            token = sampler(logits.clone(), seen[:, :n], generator)  # a tensor that it may edit
            check_sampled(token, logits)
        if eos_id is not None:
            token = token.masked_fill(ended, eos_id)
            ended |= token == eos_id
        text[:, n] = seen[:, n] = token
        yield token
        if eos_id is not None and ended.all():
            return
