"""Generation: turning a model of the next token into text.

`generate` draws one token after another; `stream` is its loop and hands out each token as it comes;
`beam_search` looks for the most probable text instead. With the key/value cache a step costs the work of one
token; without it, the whole text is run again, which is the definition that the cache has to match. Steps of
one token run through `llmguide.generation._fast_decoding`, which gives the numbers of the model itself
faster.

A decoder continues its prompt. An encoder-decoder reads the ids as its source and writes from a start token.

References: Vaswani et al. 2017, arXiv:1706.03762, section 6.1 (beam search). The filters of the distribution
are those of `llmguide.generation.sampling`, in the order of transformers; beam search keeps and ends its
beams as transformers does. Speculative decoding is in `llmguide.generation.speculative`.

Leaves out: rows that join or leave a batch while it runs, paged caches, grammars. To serve a model, export it
with `llmguide.models.to_hf`.

Glossary: ``B`` rows, ``T`` tokens of the prompt, ``T_out`` of prompt and answer, ``V`` vocabulary, ``n``
beams.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmguide.generation import sampling
from llmguide.generation._fast_decoding import decoder
from llmguide.models.encoder_decoder import Reading, Transformer
from llmguide.models.inputs import AttentionMask
from llmguide.nn.kv_cache import KVCache


@dataclass(frozen=True)
class Sampler:
    """How to draw a token from the logits; what is None is left out.

    Attributes:
        temperature: Divides the logits; 0 takes the most likely token.
        top_k: Draw from the k most likely tokens.
        top_p: Draw from the fewest tokens that together have probability p.
        min_p: Draw from the tokens at least p times as likely as the likeliest.
        repetition_penalty: Above 1 makes tokens that occurred less likely.

    >>> Sampler(temperature=0)(torch.tensor([[0.0, 2.0, 1.0]]), torch.tensor([[0]])).tolist()
    [1]
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None

    def filter(self, logits: Float[Tensor, "*B V"], ids: Int[Tensor, "*B T"]) -> Float[Tensor, "*B V"]:
        """Apply the chosen filters, in the order of transformers; ``ids`` is the text so far."""
        if self.repetition_penalty is not None:
            logits = sampling.repetition_penalty(logits, ids, self.repetition_penalty)
        logits = sampling.temperature(logits, self.temperature)
        if self.top_k is not None:
            logits = sampling.top_k(logits, self.top_k)
        if self.top_p is not None:
            logits = sampling.top_p(logits, self.top_p)
        if self.min_p is not None:
            logits = sampling.min_p(logits, self.min_p)
        return logits

    def __call__(
        self,
        logits: Float[Tensor, "*B V"],
        ids: Int[Tensor, "*B T"],
        generator: torch.Generator | None = None,
    ) -> Int[Tensor, "*B"]:
        """Draw one token for each row."""
        filtered = self.filter(logits, ids)
        return sampling.greedy(filtered) if self.temperature == 0 else sampling.sample(filtered, generator)


def generate(
    model: Any,
    ids: Int[Tensor, "B T"],
    max_new_tokens: int,
    *,
    attention_mask: AttentionMask | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    eos_id: int | None = None,
    start_id: int | None = None,
    generator: torch.Generator | None = None,
    use_cache: bool = True,
) -> Int[Tensor, "B T_out"]:
    """Continue each prompt, token by token.

    Args:
        model: A decoder or encoder-decoder of `llmguide.models`, in evaluation mode. With ``use_cache=False``
            any function from ids to logits will do.
        ids: Prompts, padded on the left if their lengths differ; for an encoder-decoder the sources, padded
            on any side.
        max_new_tokens: How many tokens to add at most.
        attention_mask: 1 for real tokens of ``ids`` and 0 for padding; needed if there is any.
        temperature: As in `Sampler`, like the next four.
        top_k: See `Sampler`.
        top_p: See `Sampler`.
        min_p: See `Sampler`.
        repetition_penalty: See `Sampler`.
        eos_id: A row ends with this token and is filled up with it while others go on.
        start_id: What an encoder-decoder starts to write from; only for those.
        generator: Source of randomness; the same seed gives the same text on the same machine.
        use_cache: Keep keys and values of earlier tokens, or run the whole text again for each token.

    Returns:
        Prompts (of an encoder-decoder the start token) and answers; shorter than ``T + max_new_tokens`` if
        every row ended before.

    Raises:
        ValueError: If the model is an encoder, the text would outgrow the learned positions, dropout is
            active, or an argument makes no sense.

    >>> from llmguide import generate
    >>> def successor(ids):  # a model that is sure of the next number
    ...     return 100.0 * torch.nn.functional.one_hot((ids + 1) % 5, 5)
    >>> generate(successor, torch.tensor([[1]]), 6, temperature=0, use_cache=False).tolist()
    [[1, 2, 3, 4, 0, 1, 2]]
    >>> generate(successor, torch.tensor([[1], [3]]), 6, eos_id=4, use_cache=False).tolist()
    [[1, 2, 3, 4], [3, 4, 4, 4]]
    """
    model, ids, attention_mask = prepare(model, ids, attention_mask, start_id)
    tokens = stream(
        model,
        ids,
        max_new_tokens,
        attention_mask=attention_mask,
        sampler=Sampler(temperature, top_k, top_p, min_p, repetition_penalty),
        eos_id=eos_id,
        generator=generator,
        use_cache=use_cache,
    )
    return torch.cat([ids, *(token[:, None] for token in tokens)], dim=1)


def stream(
    model: Any,
    ids: Int[Tensor, "B T"],
    max_new_tokens: int,
    *,
    attention_mask: AttentionMask | None = None,
    sampler: Sampler | None = None,
    eos_id: int | None = None,
    start_id: int | None = None,
    generator: torch.Generator | None = None,
    use_cache: bool = True,
) -> Iterator[Int[Tensor, " B"]]:
    """Yield the new tokens of `generate` as they are drawn, one for each row.

    The arguments are those of `generate`, but for ``sampler``, which says how to draw; None is `Sampler()`.

    >>> def successor(ids):
    ...     return 100.0 * torch.nn.functional.one_hot((ids + 1) % 5, 5)
    >>> [token.item() for token in stream(successor, torch.tensor([[2]]), 3, use_cache=False)]
    [3, 4, 0]
    """
    model, ids, attention_mask = prepare(model, ids, attention_mask, start_id)
    check_request(model, ids, max_new_tokens, attention_mask, eos_id)
    sampler = sampler or Sampler()
    T, end = ids.shape[1], ids.shape[1] + max_new_tokens
    text = torch.cat([ids, ids.new_zeros(len(ids), max_new_tokens)], dim=1)
    mask, seen = attention_mask, text
    if mask is not None:
        mask = torch.cat([mask.bool(), mask.new_ones(len(ids), max_new_tokens).bool()], dim=1)
        # padding must not count as repeated: the last token of the prompt, which is real, stands in for it
        seen = torch.where(mask, text, ids[:, -1:])
    score: Any = _Scores(model, len(ids), end, max_new_tokens) if use_cache else partial(next_logits, model)
    ended = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    for n in range(T, end):
        logits = score(text[:, :n], None if mask is None else mask[:, :n])
        token = sampler(logits, seen[:, :n], generator)
        if eos_id is not None:
            token = token.masked_fill(ended, eos_id)
            ended |= token == eos_id
        text[:, n] = seen[:, n] = token
        yield token
        if eos_id is not None and ended.all():
            return


@torch.inference_mode()
def next_logits(
    model: Any,
    text: Int[Tensor, "B T"],
    attention_mask: AttentionMask | None = None,
    cache: KVCache | None = None,
) -> Float[Tensor, "B V"]:
    """Score the token after each row, in float32 and without a graph for gradients.

    Args:
        model: A decoder of `llmguide.models`, or without a cache any function from ids to logits.
        text: The whole text so far. With a cache only what is not in it yet is run.
        attention_mask: 1 for real tokens and 0 for padding, over the whole text.
        cache: Keys and values of earlier tokens; those of the others are added.

    Returns:
        Logits.

    >>> next_logits(lambda ids: torch.nn.functional.one_hot(ids, 3), torch.tensor([[0, 2]])).tolist()
    [[0.0, 0.0, 1.0]]
    """
    logits: Tensor
    if cache is None:
        padding = {} if attention_mask is None else {"attention_mask": attention_mask}
        logits = model(text, **padding)[:, -1]
    else:
        hidden = model.hidden(text[:, cache.length :], attention_mask=attention_mask, cache=cache)
        logits = model.unembed(hidden[:, -1])  # of a long prompt only the last position meets the head
    return logits.float()


class _Scores:
    """What `next_logits` gives for texts that grow by a token, with a cache and the steps of `decoder`."""

    def __init__(self, model: Any, rows: int, n_tokens: int, n_steps: int):
        self.model, self.cache = model, new_cache(model, n_tokens)
        self.step = decoder(model, rows=rows, tokens=n_steps)

    def __call__(self, text: Tensor, attention_mask: AttentionMask | None) -> Tensor:
        if self.step is None or self.cache.length == 0:
            return next_logits(self.model, text, attention_mask, self.cache)
        return self.step(text[:, -1], attention_mask, self.cache).float()

    def reorder(self, rows: Tensor) -> None:
        """Let the texts go on from these rows."""
        self.cache.reorder(rows)
        if isinstance(self.model, Reading) and len(rows) != len(self.model.memory):
            self.model.reorder(rows)  # once: from then on each source keeps its beams


def new_cache(model: Any, n_tokens: int) -> KVCache:
    """Make an empty cache with room for so many tokens, or with a sliding window for what it needs."""
    window = model.config.sliding_window
    capacity = n_tokens if window is None else min(n_tokens, 2 * window)
    return KVCache(model.config.n_layers, capacity=capacity, window=window)


def prepare(
    model: Any, ids: Int[Tensor, "B T"], attention_mask: AttentionMask | None, start_id: int | None
) -> tuple[Any, Int[Tensor, "B T_prompt"], AttentionMask | None]:
    """Let an encoder-decoder read its sources, and leave a decoder and its prompts as they are.

    Args:
        model: A model.
        ids: Prompts, or sources.
        attention_mask: 1 for their real tokens and 0 for padding, or None.
        start_id: What an encoder-decoder starts to write from.

    Returns:
        A model of the text to write, the beginning of that text, and its attention mask.

    Raises:
        ValueError: If the start token is missing or out of place, or there is no source.
    """
    if not isinstance(model, Transformer):
        if start_id is not None:
            raise ValueError(f"start_id={start_id} is for an encoder-decoder; a decoder continues its prompt")
        return model, ids, attention_mask
    if start_id is None or not 0 <= start_id < model.config.vocab_size:
        raise ValueError(
            f"start_id={start_id}: an encoder-decoder needs a token to start from, 0 to "
            f"{model.config.vocab_size - 1}; pass the one that its training targets began with"
        )
    _check_ids(ids, attention_mask)
    return Reading(model, ids, attention_mask), ids.new_full((len(ids), 1), start_id), None


def _check_ids(ids: Tensor, attention_mask: Tensor | None) -> None:
    if ids.ndim != 2 or ids.numel() == 0:
        raise ValueError(
            f"ids {tuple(ids.shape)} must be (B, T) with at least one row, and at least one token a row, "
            "such as a start token"
        )
    if attention_mask is not None and attention_mask.shape != ids.shape:
        raise ValueError(
            f"attention_mask {tuple(attention_mask.shape)} must have the shape of ids {tuple(ids.shape)}"
        )


def check_request(
    model: Any,
    ids: Int[Tensor, "B T"],
    max_new_tokens: int,
    attention_mask: AttentionMask | None = None,
    eos_id: int | None = None,
) -> None:
    """Refuse what would fail later or give wrong text.

    Raises:
        ValueError: As in `generate`.
    """
    _check_ids(ids, attention_mask)
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens={max_new_tokens} must be at least 0")
    if attention_mask is not None and not attention_mask[:, -1].all():
        raise ValueError("a prompt ends in padding, which the model would continue: pad on the left")
    config = getattr(model, "config", None)
    if config is None:
        return
    if config.architecture != "decoder" and not isinstance(model, Reading):
        raise ValueError(
            "an encoder has no next token to write: read the logits of MaskedLM at masked places"
            if config.architecture == "encoder"
            else "an encoder-decoder must read first: pass Reading(model, source)"
        )
    if eos_id is not None and not 0 <= eos_id < config.vocab_size:
        raise ValueError(f"eos_id={eos_id} is outside the vocabulary, 0 to {config.vocab_size - 1}")
    if model.training and config.dropout:
        raise ValueError(f"dropout={config.dropout} is active; call model.eval() before generating")
    longest = ids.shape[1] if attention_mask is None else int(attention_mask.sum(dim=1).max())
    needed = longest + max_new_tokens - 1  # the last token is not read again
    if config.positions == "learned" and needed > config.context_length:
        room = config.context_length - longest + 1
        raise ValueError(
            f"a prompt of {longest} and {max_new_tokens} new tokens outgrow the {config.context_length} "
            "positions of the model; crop the prompt" + (f" or add {room} at most" if room > 0 else "")
        )


def beam_search(
    model: Any,
    ids: Int[Tensor, "B T"],
    max_new_tokens: int,
    *,
    n_beams: int,
    length_penalty: float = 1.0,
    eos_id: int | None = None,
    start_id: int | None = None,
    attention_mask: AttentionMask | None = None,
) -> Int[Tensor, "B T_out"]:
    r"""Find a likely continuation of each prompt by keeping the n best beginnings at every step.

    A finished text of m new tokens has the score $\sum_t \log p_t / m^\alpha$ with the length penalty
    $\alpha$: 0 compares whole probabilities and prefers short texts, 1 compares the mean per token. A row is
    done when it has n finished texts and its best unfinished one, at its present length, scores below all of
    them. As in transformers (``early_stopping=False``), that is a heuristic: with a positive penalty the
    unfinished one could still rise.

    Args:
        model: A decoder or encoder-decoder of `llmguide.models`, in evaluation mode.
        ids: Prompts or sources, as in `generate`.
        max_new_tokens: How many tokens to add at most.
        n_beams: Beginnings to keep; 1 is greedy.
        length_penalty: Exponent of the length.
        eos_id: Ends a text; rows that end early are filled up with it. None: all texts have the full length.
        start_id: What an encoder-decoder starts to write from; only for those.
        attention_mask: 1 for real tokens of ``ids`` and 0 for padding.

    Returns:
        The best text of each row, with the prompt or start token before it.

    Raises:
        ValueError: As in `generate`, or if ``n_beams`` is below 1 or the logits are no numbers.

    >>> from llmguide import ModelConfig, beam_search, build
    >>> model = build(ModelConfig(vocab_size=11, context_length=8, n_layers=1, d_model=12, n_heads=3)).eval()
    >>> ids = torch.tensor([[1, 2], [3, 4]])
    >>> beam_search(model, ids, 3, n_beams=4).shape  # prompts of 2 tokens and 3 new ones
    torch.Size([2, 5])
    """
    model, ids, attention_mask = prepare(model, ids, attention_mask, start_id)
    check_request(model, ids, max_new_tokens, attention_mask, eos_id)
    if n_beams < 1:
        raise ValueError(f"n_beams={n_beams} must be at least 1")
    B, T = ids.shape
    text, mask = ids, attention_mask
    score = _Scores(model, B * n_beams, T + max_new_tokens, max_new_tokens)
    scores = torch.zeros(B, 1, device=ids.device)  # one beam a row, n from the first step on
    finished: list[list[tuple[float, Tensor]]] = [[] for _ in range(B)]  # best first
    done = [False] * B

    for step in range(1, max_new_tokens + 1):
        logits = score(text, mask)
        sampling.check_rows(logits)
        log_probs = logits.log_softmax(dim=-1)
        beams, V = scores.shape[1], log_probs.shape[-1]
        totals = (log_probs.view(B, beams, V) + scores[..., None]).flatten(1)  # (B, beams * V)
        # of 2 n candidates at most n end, one for each beam, so n remain to go on
        candidates, where = totals.topk(min(2 * n_beams, beams * V))
        parents = beams * torch.arange(B, device=ids.device)[:, None] + where // V  # rows of text
        tokens = where % V
        ends = torch.full_like(tokens, step == max_new_tokens, dtype=torch.bool)
        if eos_id is not None:
            ends |= tokens == eos_id

        for b in range(B):
            for rank in range(min(n_beams, tokens.shape[1])):
                if ends[b, rank] and not done[b] and candidates[b, rank] > -inf:
                    ended = torch.cat([text[parents[b, rank]], tokens[b, rank, None]])
                    finished[b].append((candidates[b, rank].item() / step**length_penalty, ended))
            finished[b] = sorted(finished[b], key=lambda pair: -pair[0])[:n_beams]

        scores, kept = candidates.masked_fill(ends, -inf).topk(min(n_beams, tokens.shape[1]))
        rows = parents.gather(1, kept).flatten()
        text = torch.cat([text[rows], tokens.gather(1, kept).view(-1, 1)], dim=1)
        score.reorder(rows)
        if mask is not None:
            mask = torch.cat([mask[rows], mask.new_ones(len(rows), 1)], dim=1)
        best_running = (scores[:, 0] / step**length_penalty).tolist()
        for b in range(B):
            done[b] |= len(finished[b]) == n_beams and best_running[b] <= finished[b][-1][0]
        if all(done):
            break

    best = [texts[0][1] for texts in finished] if max_new_tokens else list(ids)
    longest = max(len(row) for row in best)
    out = ids.new_full((B, longest), 0 if eos_id is None else eos_id)
    for b, row in enumerate(best):
        out[b, : len(row)] = row
    return out
