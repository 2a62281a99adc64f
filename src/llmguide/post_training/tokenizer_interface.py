"""One interface to three kinds of tokenizer, with the character span of each token.

A chat template needs to know which tokens come from which characters, and to encode user text without control
tokens. `as_adapter` gives both for a `Tokenizer`, a `tiktoken.Encoding` and a fast tokenizer of transformers.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

Spans = list[tuple[int, int]]  # start and end of the characters that each token contains, whole or in part


@dataclass(frozen=True)
class TokenizerAdapter:
    """The functions of a tokenizer that a chat template needs; `as_adapter` makes one.

    Attributes:
        control_tokens: Texts of the control tokens, which only the template may write.
        encode: Function from a text, and whether to recognize control tokens in it, to token ids and spans.
    """

    control_tokens: Collection[str]
    encode: Callable[[str, bool], tuple[list[int], Spans]]


def as_adapter(tokenizer: Any) -> TokenizerAdapter:
    """Adapt a `Tokenizer`, a `tiktoken.Encoding` or a fast tokenizer of transformers.

    Raises:
        TypeError: If it is none of these.
    """
    if hasattr(tokenizer, "added_tokens_decoder"):
        return _transformers_adapter(tokenizer)
    if hasattr(tokenizer, "encode_ordinary"):
        names, pieces = tokenizer.special_tokens_set, tokenizer.decode_tokens_bytes
    elif hasattr(tokenizer, "special_tokens"):
        names, pieces = tokenizer.special_tokens.keys(), tokenizer.pieces
    else:
        raise TypeError(
            f"{type(tokenizer).__name__} is not a Tokenizer, tiktoken.Encoding or tokenizer of transformers"
        )

    def encode(text: str, control: bool) -> tuple[list[int], Spans]:
        if not control:
            ids: list[int] = getattr(tokenizer, "encode_ordinary", tokenizer.encode)(text)
        else:
            ids = tokenizer.encode(text, allowed_special="all")
        return ids, list(_byte_spans(pieces(ids)))

    return TokenizerAdapter(frozenset(names), encode)


def _transformers_adapter(tokenizer: Any) -> TokenizerAdapter:
    if not tokenizer.is_fast:
        raise TypeError(
            f"{type(tokenizer).__name__} is not a fast tokenizer and does not report where tokens start"
        )
    own = tokenizer.chat_template or ""
    # tokens like <think> are ordinary text unless the template writes them
    names = {t.content for t in tokenizer.added_tokens_decoder.values() if t.special or t.content in own}

    def encode(text: str, control: bool) -> tuple[list[int], Spans]:
        found = tokenizer(
            text,
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            split_special_tokens=not control,
            verbose=False,
        )
        return found["input_ids"], found["offset_mapping"]

    return TokenizerAdapter(frozenset(names), encode)


def _byte_spans(pieces: list[bytes]) -> Iterator[tuple[int, int]]:
    """Yield the span of characters of each token; a character split over several tokens is in all of them."""
    begun = 0
    for piece in pieces:
        starts = sum(byte & 0xC0 != 0x80 for byte in piece)  # 0b10...... continues a character
        yield (begun if piece[0] & 0xC0 != 0x80 else begun - 1), begun + starts
        begun += starts
