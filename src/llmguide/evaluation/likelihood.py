r"""Likelihood of a text under a language model: perplexity and bits per byte.

Both follow from the log-probability of each token given the tokens before it:

$$\text{perplexity} = \exp\Big(-\frac{1}{N} \sum_t \log p(x_t \mid x_{<t})\Big), \qquad
\text{bits per byte} = -\frac{1}{\text{bytes} \cdot \ln 2} \sum_t \log p(x_t \mid x_{<t})$$

Perplexity is per token, so it can only be compared between models with the same tokenizer: one with longer
tokens makes fewer, harder predictions. Bits per byte divides by the length of the text itself, which is the
size that a compressor with this model would reach. It can be compared across tokenizers, for the same text,
context and stride.

References: overlapping windows (Baevski & Auli 2018, arXiv:1809.10853). Multiple choice is in
`llmguide.evaluation.multiple_choice`, metrics of completions are in `llmguide.evaluation.metrics`.

Glossary: ``N`` tokens of a text, ``T`` tokens of a window.
"""

from collections.abc import Iterable, Iterator, Sequence
from math import exp, log
from typing import TypeVar, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmguide.arguments import check_ids
from llmguide.data.tokens.encode import encode_ordinary
from llmguide.models.decoder_protocol import Decoder, require_own
from llmguide.tokenization.text_encoder import TextEncoder
from llmguide.training.losses import head_logprobs

T = TypeVar("T")

BATCH_TOKENS = 8192  # tokens of windows that are run at a time


def text_logprobs(
    model: Decoder | nn.Module,
    ids: Int[Tensor, " N"],
    *,
    context: int | None = None,
    stride: int | None = None,
) -> Float[Tensor, " N_minus_1"]:
    """Compute the log-probability of every token but the first, in windows that move over the text.

    Each window scores the tokens that no earlier one scored, so all tokens except those of the first window
    see at least ``context - stride + 1`` tokens.

    Args:
        model: A decoder of `llmguide.models` in evaluation mode.
        ids: Token ids of one text, the beginning-of-text token first.
        context: Tokens of a window; None: the model's context length.
        stride: Tokens that a window moves, 1 to ``context``. None: ``context``, which is fastest and gives
            the first tokens of each window the least context; half of it takes twice the time and comes close
            to the best.

    Returns:
        Log-probabilities in nats.

    Raises:
        ValueError: There is nothing to predict, or ``context`` or ``stride`` is out of range.

    >>> from llmguide.config.model_config import ModelConfig
    >>> from llmguide.models import build
    >>> model = build(ModelConfig(vocab_size=4, context_length=4, n_layers=1, d_model=2, n_heads=1)).eval()
    >>> _ = torch.nn.init.zeros_(model.tokens.weight)  # the tied head gives every token the same logit
    >>> text_logprobs(model, torch.tensor([0, 3, 1, 2]), context=2, stride=1).exp().tolist()
    [0.25, 0.25, 0.25]
    """
    check_ids(ids, "N,")
    decoder = evaluated(model)
    longest = decoder.config.context_length
    context = longest if context is None else context
    stride = context if stride is None else stride
    if len(ids) < 2:
        raise ValueError(
            f"{len(ids)} tokens leave nothing to predict: put a beginning-of-text token first, if the model "
            "was trained with one"
        )
    if not 1 <= context <= longest:
        raise ValueError(f"context={context} must be between 1 and the model's {longest}")
    if not 1 <= stride <= context:
        raise ValueError(f"stride={stride} must be between 1 and context={context}")
    n_targets = len(ids) - 1
    width = min(context, n_targets)
    # ends of the windows; the last one is moved back to end with the text, and scores the rest
    ends = [*range(width, n_targets, stride), n_targets]
    found = torch.empty(n_targets)
    scored = 0
    for group in groups(ends, BATCH_TOKENS // width):
        rows = torch.stack([ids[end - width : end + 1] for end in group])
        with torch.inference_mode():
            logprobs = head_logprobs(decoder, decoder.hidden(rows[:, :-1]), rows[:, 1:]).cpu()
        for end, row in zip(group, logprobs, strict=True):
            found[scored:end] = row[width - (end - scored) :]
            scored = end
    return found


def perplexity(
    model: Decoder | nn.Module,
    ids: Int[Tensor, " N"],
    *,
    context: int | None = None,
    stride: int | None = None,
) -> float:
    """Compute the perplexity of a text, the effective number of choices for each token.

    Args:
        model: A decoder of `llmguide.models` in evaluation mode.
        ids: Token ids of one text, the beginning-of-text token first.
        context: Tokens of a window, at most the model's context length; None: that length.
        stride: Tokens that a window moves, 1 to ``context``. None: ``context``, which is fastest and gives
            the first tokens of each window the least context.

    Returns:
        Perplexity, at least 1; the size of the vocabulary for the uniform distribution.

    >>> from llmguide import ModelConfig, build, perplexity
    >>> model = build(ModelConfig(vocab_size=4, context_length=4, n_layers=1, d_model=2, n_heads=1)).eval()
    >>> _ = torch.nn.init.zeros_(model.tokens.weight)  # the tied head gives every token the same logit
    >>> round(perplexity(model, torch.tensor([0, 3, 1, 2])), 4)
    4.0
    """
    return exp(-text_logprobs(model, ids, context=context, stride=stride).double().mean().item())


def bits_per_byte(
    model: Decoder | nn.Module,
    tokenizer: TextEncoder,
    texts: Iterable[str],
    *,
    bos_id: int,
    context: int | None = None,
    stride: int | None = None,
) -> float:
    """Compute the bits per UTF-8 byte under a model, each text predicted independently.

    Args:
        model: A decoder of `llmguide.models` in evaluation mode.
        tokenizer: Tokenizer of the model, ours or one of Hugging Face. If it drops part of a text, the result
            is too low.
        texts: Held-out documents.
        bos_id: Token before each document, so that its first token is predicted and counted too;
            ``<|endoftext|>`` if that separated the documents in training.
        context: Tokens of a window, at most the model's context length; None: that length.
        stride: Tokens that a window moves, 1 to ``context``. None: ``context``, which is fastest and gives
            the first tokens of each window the least context.

    Returns:
        Bits per byte; 8 for the uniform distribution over bytes.

    Raises:
        TypeError: ``texts`` is a string.
        ValueError: The texts are empty.

    >>> from llmguide import ModelConfig, bits_per_byte, build
    >>> model = build(ModelConfig(vocab_size=256, context_length=4, n_layers=1, d_model=2, n_heads=1)).eval()
    >>> _ = torch.nn.init.zeros_(model.tokens.weight)  # the tied head gives every token the same logit
    >>> class Bytes:
    ...     encode = staticmethod(lambda text: list(text.encode()))
    >>> round(bits_per_byte(model, Bytes, ["naïve", "text"], bos_id=0), 4)
    8.0
    """
    if isinstance(texts, str):
        raise TypeError("texts is one string, whose letters would count as documents; pass [text]")
    nats, n_bytes = 0.0, 0
    for text in texts:
        if text:
            ids = torch.tensor([bos_id, *encode_ordinary(tokenizer, text)], device=device(model))
            nats -= text_logprobs(model, ids, context=context, stride=stride).double().sum().item()
            n_bytes += len(text.encode())
    if n_bytes == 0:
        raise ValueError("all texts are empty")
    return nats / log(2) / n_bytes


def groups(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Split a sequence into groups of ``size``, at least 1."""
    size = max(1, size)
    return (items[start : start + size] for start in range(0, len(items), size))


def device(model: Decoder | nn.Module) -> torch.device:
    """Return the device of a model's parameters."""
    return next(cast(nn.Module, model).parameters()).device


def evaluated(model: Decoder | nn.Module) -> Decoder:
    """Return a model as a decoder, and raise ValueError if it is of transformers or its dropout is active."""
    require_own(model)
    decoder = cast(Decoder, model)
    if decoder.training and (dropout := decoder.config.dropout) > 0:
        raise ValueError(f"dropout={dropout} is active, so scores would be random: call model.eval()")
    return decoder
