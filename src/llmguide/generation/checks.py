"""Checks of the arguments of `generate`, `beam_search` and `speculative_generate`."""

from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmguide import arguments
from llmguide.config.model_config import ModelConfig
from llmguide.models.decoder_protocol import Decoder, require_own
from llmguide.models.encoder_decoder import EncodedSource
from llmguide.models.inputs import AttentionMask


def check_ids(ids: Int[Tensor, "B T"], attention_mask: AttentionMask | None) -> None:
    """Raise ValueError if there are no ids, or the attention mask has another shape."""
    arguments.check_ids(ids)
    if ids.numel() == 0:
        raise ValueError(
            f"ids {tuple(ids.shape)} must be (B, T) with at least one row, and at least one token per row, "
            "such as a start token"
        )
    if attention_mask is not None and attention_mask.shape != ids.shape:
        raise ValueError(
            f"attention_mask {tuple(attention_mask.shape)} must have the shape of ids {tuple(ids.shape)}"
        )


def check_request(
    model: Decoder | Callable[[Tensor], Tensor],
    ids: Int[Tensor, "B T"],
    max_new_tokens: int,
    attention_mask: AttentionMask | None = None,
    eos_id: int | None = None,
) -> None:
    """Raise ValueError for a request that would fail later or generate wrong text.

    Raises:
        ValueError: An argument is out of range, as in `generate`.
    """
    check_ids(ids, attention_mask)
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens={max_new_tokens} must be at least 0")
    if attention_mask is not None and not attention_mask[:, -1].all():
        raise ValueError("a prompt ends in padding, which the model would continue: pad on the left")
    config = getattr(model, "config", None)
    if not isinstance(config, ModelConfig):  # any function of ids
        require_own(model)
        return
    decoder = cast(Decoder, model)
    if config.architecture != "decoder" and not isinstance(model, EncodedSource):
        raise ValueError(
            "an encoder cannot predict a next token: read the logits of MaskedLM at masked positions"
            if config.architecture == "encoder"
            else "an encoder-decoder needs its source first: pass EncodedSource(model, source)"
        )
    if eos_id is not None and not 0 <= eos_id < config.vocab_size:
        raise ValueError(f"eos_id={eos_id} is outside the vocabulary, 0 to {config.vocab_size - 1}")
    if decoder.training and config.dropout:
        raise ValueError(f"dropout={config.dropout} is active; call model.eval() before generating")
    longest = ids.shape[1] if attention_mask is None else int(attention_mask.sum(dim=1).max())
    needed = longest + max_new_tokens - 1  # the last new token is not an input
    if config.positions == "learned" and needed > config.context_length:
        room = config.context_length - longest + 1
        raise ValueError(
            f"a prompt of {longest} and {max_new_tokens} new tokens exceed the {config.context_length} "
            "positions of the model; crop the prompt" + (f" or add {room} at most" if room > 0 else "")
        )


def check_sampled(token: object, logits: Float[Tensor, "B V"]) -> None:
    """Raise ValueError unless a reader's sampler returned one token of the vocabulary for each row."""
    rows, size = logits.shape
    if not isinstance(token, Tensor) or token.dtype != torch.long or token.shape != (rows,):
        found = f"{tuple(token.shape)} of {token.dtype}" if isinstance(token, Tensor) else f"{token!r:.60}"
        raise ValueError(f"the sampler returned {found}; return an id for each row, ({rows},) of torch.int64")
    if token.min() < 0 or token.max() >= size:
        raise ValueError(f"the sampler returned {token.tolist()}; ids of the vocabulary are 0 to {size - 1}")
