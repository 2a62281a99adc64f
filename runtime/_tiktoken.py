"""tiktoken's core in Python, for the tab, which has no Rust: `llmguide.tokenization`, with equal ids.

All else of tiktoken is written in Python, and comes as it is.
"""

from collections.abc import Collection, Iterable, Mapping

from llmguide.tokenization.tokenizer import Tokenizer


class CoreBPE:
    """What `tiktoken.Encoding` asks for ids and bytes."""

    def __init__(self, ranks: Mapping[bytes, int], special_tokens: Mapping[str, int], pattern: str) -> None:
        self._tokenizer = Tokenizer(ranks, pattern=pattern, special_tokens=special_tokens)
        self._ids = ranks | {name.encode(): i for name, i in special_tokens.items()}

    def encode_ordinary(self, text: str) -> list[int]:
        """Ids of a text in which nothing is special."""
        return self._tokenizer.encode(text)

    def encode(self, text: str, allowed_special: Collection[str]) -> list[int]:
        """Ids of a text."""
        return self._tokenizer.encode(text, allowed_special=allowed_special)

    def encode_single_token(self, token: bytes) -> int:
        """Id of one token."""
        return self._ids[token]

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Bytes of ids."""
        return b"".join(map(self.decode_single_token_bytes, ids))

    def decode_single_token_bytes(self, token: int) -> bytes:
        """Bytes of one id."""
        try:
            return self._tokenizer.pieces([token])[0]
        except ValueError:
            raise KeyError(f"Invalid token for decoding: {token}") from None

    def token_byte_values(self) -> list[bytes]:
        """Bytes of all tokens that are not special."""
        return sorted(self._tokenizer.ranks)

    def __getattr__(self, name: str) -> None:
        raise AttributeError(f"tiktoken's {name} is not in the tab; run with tiktoken")
