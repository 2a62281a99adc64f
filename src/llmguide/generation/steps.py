"""Decoding steps: the logits of the next token, with a key/value cache or without."""

from collections.abc import Callable
from functools import cached_property
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmguide.generation._fast_decoding import Step, decoding_step, has_hooks
from llmguide.generation.checks import check_ids
from llmguide.models.decoder_protocol import Decoder
from llmguide.models.encoder_decoder import EncodedSource, Transformer
from llmguide.models.inputs import AttentionMask
from llmguide.nn.kv_cache import KVCache

LanguageModel = Decoder | Transformer | Callable[[Tensor], Tensor]  # the last: from ids to logits


@torch.inference_mode()
def next_logits(
    model: Decoder | Callable[..., Tensor],
    text: Int[Tensor, "B T"],
    attention_mask: AttentionMask | None = None,
    cache: KVCache | None = None,
) -> Float[Tensor, "B V"]:
    """Compute the logits of the token after each row, in float32 and without a graph for gradients.

    Args:
        model: A decoder; without a cache, any function from ids to logits.
        text: All tokens so far. With a cache, only those that are not in it yet are run.
        attention_mask: 1 for real tokens and 0 for padding, over all tokens so far.
        cache: Keys and values of earlier tokens; those of the new tokens are appended.

    Returns:
        Logits.

    >>> next_logits(lambda ids: torch.nn.functional.one_hot(ids, 3), torch.tensor([[0, 2]])).tolist()
    [[0.0, 0.0, 1.0]]
    """
    if cache is None:
        padding = {} if attention_mask is None else {"attention_mask": attention_mask}
        return model(text, **padding)[:, -1].float()
    decoder = cast(Decoder, model)
    hidden = decoder.hidden(text[:, cache.length :], attention_mask=attention_mask, cache=cache)
    return decoder.unembed(hidden[:, -1]).float()  # only the last position of a long prompt needs logits


class CachedSteps:
    """Computes `next_logits` with a cache, for texts that grow by one token per call.

    Args:
        model: A decoder in evaluation mode.
        rows: Number of texts, as a hint for the fast steps.
        n_tokens: Number of tokens of the longest text, including the prompt.
        n_steps: Number of calls, as a hint for the fast steps.

    Raises:
        TypeError: The model lacks a method of `llmguide.Decoder`.
    """

    def __init__(self, model: Decoder, *, rows: int, n_tokens: int, n_steps: int) -> None:
        if not isinstance(model, Decoder):
            raise TypeError(
                f"model is a {type(model).__name__} without the methods of llmguide.Decoder, which a "
                "key/value cache needs; generate takes it with use_cache=False"
            )
        self.model, self.cache = model, new_cache(model, n_tokens)
        self.rows, self.n_steps = rows, n_steps

    @cached_property
    def fast_step(self) -> Step | None:
        """The step of `decoding_step`, built after the first token, which does not need it."""
        return decoding_step(self.model, rows=self.rows, tokens=self.n_steps)

    def __call__(
        self, text: Int[Tensor, "B T"], attention_mask: AttentionMask | None
    ) -> Float[Tensor, "B V"]:
        """Compute the logits of the token after each row; the arguments are those of `next_logits`."""
        if self.cache.length == 0 and attention_mask is None and self._are_copies(text):
            logits = next_logits(self.model, text[:1], None, self.cache)
            copies = text.new_zeros(len(text))
            self.cache.reorder(copies)
            return logits[copies]
        if self.cache.length == 0 or self.fast_step is None:
            return next_logits(self.model, text, attention_mask, self.cache)
        return self.fast_step(text[:, -1], attention_mask, self.cache).float()

    def _are_copies(self, text: Int[Tensor, "B T"]) -> bool:
        """Return whether the rows are one prompt that is to be completed several times."""
        if (
            not isinstance(self.model, nn.Module)
            or has_hooks(self.model)
            or isinstance(self.model, EncodedSource)
        ):
            return False  # a hook or a source may be another in each row
        return len(text) > 1 and bool((text == text[0]).all())

    def reorder(self, rows: Int[Tensor, " B_new"]) -> None:
        """Replace the texts by rows of them, which may repeat."""
        self.cache.reorder(rows)
        if isinstance(self.model, EncodedSource) and len(rows) != len(self.model.memory):
            self.model.reorder(rows)  # once: afterwards the beams of a source stay with it


def new_cache(model: Decoder, n_tokens: int) -> KVCache:
    """Create an empty cache for texts of ``n_tokens``, or for a sliding window of all layers over them."""
    window = None if model.config.n_full_layers else model.config.sliding_window
    capacity = n_tokens if window is None else min(n_tokens, 2 * window)
    return KVCache(model.config.n_layers, capacity=capacity, window=window)


def encode_source(
    model: LanguageModel, ids: Int[Tensor, "B T"], attention_mask: AttentionMask | None, start_id: int | None
) -> tuple[Decoder | Callable[[Tensor], Tensor], Int[Tensor, "B T_prompt"], AttentionMask | None]:
    """Encode the source of an encoder-decoder; return a decoder and its prompts as they are.

    Args:
        model: A decoder, an encoder-decoder, or a function from ids to logits.
        ids: Prompts of a decoder, or sources of an encoder-decoder.
        attention_mask: 1 for real tokens of ``ids`` and 0 for padding; None: there is no padding.
        start_id: Decoder start token, for encoder-decoders only.

    Returns:
        A model of the text to generate, the prompts of that text, and their attention mask.

    Raises:
        ValueError: The start token is missing or out of place, or there is no source.
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
    check_ids(ids, attention_mask)
    return EncodedSource(model, ids, attention_mask), ids.new_full((len(ids), 1), start_id), None
