"""What the package needs of a tokenizer of any library."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class TextEncoder(Protocol):
    """Interface of a `Tokenizer`, a `tiktoken.Encoding` or a tokenizer of transformers."""

    def encode(self, text: str, /) -> list[int]:
        """Return the token ids of a text."""
