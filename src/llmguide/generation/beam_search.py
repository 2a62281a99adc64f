r"""Beam search: keep the n most probable prefixes at every step.

A finished text of m new tokens has the score $\sum_t \log p_t / m^\alpha$ with the length penalty $\alpha$: 0
compares the probabilities of whole texts and prefers short ones, 1 compares the mean per token.

References: Vaswani et al. 2017, arXiv:1706.03762, section 6.1. Beams are kept and end as in transformers.

Glossary: ``B`` rows, ``T`` tokens of the prompt, ``T_out`` tokens of prompt and completion, ``V`` vocabulary,
``n`` beams.
"""

from math import inf
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmguide.generation.checks import check_request
from llmguide.generation.sampling import check_rows
from llmguide.generation.steps import CachedSteps, LanguageModel, encode_source
from llmguide.models.decoder_protocol import Decoder
from llmguide.models.inputs import AttentionMask


def beam_search(
    model: LanguageModel,
    ids: Int[Tensor, "B T"],
    max_new_tokens: int,
    *,
    n_beams: int,
    length_penalty: float = 1.0,
    eos_id: int | None = None,
    start_id: int | None = None,
    attention_mask: AttentionMask | None = None,
) -> Int[Tensor, "B T_out"]:
    """Find a probable completion of each prompt by beam search.

    A row is done when it has n finished texts and its best unfinished one, at its current length, scores
    below all of them. As in transformers (``early_stopping=False``), this is a heuristic: with a positive
    length penalty the score of the unfinished one could still increase.

    Args:
        model: A decoder or encoder-decoder of `llmguide.models`, in evaluation mode, or a model of your own
            with the methods of `llmguide.Decoder`.
        ids: Prompts, padded on the left if their lengths differ; for an encoder-decoder the sources.
        max_new_tokens: Largest number of tokens to add, 0 or more.
        n_beams: Number of prefixes to keep, at least 1; 1 is greedy.
        length_penalty: Exponent of the length in the score.
        eos_id: End-of-text token; rows that end early are padded with it. None: all texts have the full
            length.
        start_id: Decoder start token, for encoder-decoders only.
        attention_mask: 1 for real tokens of ``ids`` and 0 for padding; needed if there is any.

    Returns:
        The best text of each row, with the prompt (of an encoder-decoder, the start token) before it.

    Raises:
        ValueError: A request is invalid as in `llmguide.generation.generate.generate`, ``n_beams`` is below
            1, or logits are NaN or infinite.

    >>> from llmguide import ModelConfig, beam_search, build
    >>> model = build(ModelConfig(vocab_size=11, context_length=8, n_layers=1, d_model=12, n_heads=3)).eval()
    >>> ids = torch.tensor([[1, 2], [3, 4]])
    >>> beam_search(model, ids, 3, n_beams=4).shape  # prompts of 2 tokens and 3 new ones
    torch.Size([2, 5])
    """
    decoder, ids, attention_mask = encode_source(model, ids, attention_mask, start_id)
    check_request(decoder, ids, max_new_tokens, attention_mask, eos_id)
    if n_beams < 1:
        raise ValueError(f"n_beams={n_beams} must be at least 1")
    B, T = ids.shape
    text, mask = ids, attention_mask
    steps = CachedSteps(
        cast(Decoder, decoder), rows=B * n_beams, n_tokens=T + max_new_tokens, n_steps=max_new_tokens
    )
    scores = torch.zeros(B, 1, device=ids.device)  # one beam per row, n from the first step on
    finished: list[list[tuple[float, Tensor]]] = [[] for _ in range(B)]  # best first
    done = [False] * B

    for step in range(1, max_new_tokens + 1):
        logits = steps(text, mask)
        check_rows(logits)
        log_probs = logits.log_softmax(dim=-1)
        # at most n of the 2 n candidates end, one for each beam, so n remain to be continued
        candidates, parents, tokens = _best(scores, log_probs, 2 * n_beams)
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
        steps.reorder(rows)
        if mask is not None:
            mask = torch.cat([mask[rows], mask.new_ones(len(rows), 1)], dim=1)
        best_running = (scores[:, 0] / step**length_penalty).tolist()
        for b in range(B):
            done[b] |= len(finished[b]) == n_beams and best_running[b] <= finished[b][-1][0]
        if all(done):
            break

    best = [texts[0][1] for texts in finished] if max_new_tokens else list(ids)
    return torch.nn.utils.rnn.pad_sequence(best, batch_first=True, padding_value=eos_id or 0)


def _best(
    scores: Float[Tensor, "B n"], log_probs: Float[Tensor, "Bn V"], k: int
) -> tuple[Float[Tensor, "B k"], Int[Tensor, "B k"], Int[Tensor, "B k"]]:
    """Find the k best one-token continuations of each row's beams: scores, rows of the text, tokens."""
    (B, n), V = scores.shape, log_probs.shape[-1]
    totals = (log_probs.view(B, n, V) + scores[..., None]).flatten(1)  # (B, n V)
    candidates, where = totals.topk(min(k, n * V))
    parents = n * torch.arange(B, device=scores.device)[:, None] + where // V
    return candidates, parents, where % V
