r"""A byte-level BPE tokenizer (train, encode, decode, save, load) whose ids equal tiktoken's.

Text is split into pieces (`llmguide.tokenization.pretokenize`), each piece is UTF-8 bytes, and the merges of
`llmguide.tokenization.bpe` turn bytes into ids. Every text can be encoded, because every byte is a token.

References:
    [1] Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2.
    [2] tiktoken, https://github.com/openai/tiktoken

Glossary:

- rank: id of a token, and its priority when bytes are merged
- special token: a marker such as ``<|endoftext|>``, whose id never comes out of ordinary text

Differences from tiktoken: text that looks like a special token is encoded as ordinary text unless it is named
in ``allowed_special``; tiktoken raises instead (its ``disallowed_special=()`` is the behavior here).

Leaves out: parallel encoding of batches (start processes, the tokenizer can be pickled), normalization, and
padding.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import warnings
from binascii import a2b_base64
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from importlib import import_module
from itertools import chain
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, SupportsIndex

from llmguide.files import write_text
from llmguide.tokenization.bpe import learn_merges, merge_piece, ranks_from_merges
from llmguide.tokenization.pretokenize import GPT2_PATTERN, Pretokenizer

if TYPE_CHECKING:
    import tiktoken

__all__ = ["GPT2_PATTERN", "Tokenizer"]

_FORMAT = "llmguide byte-level BPE, version 1"
_MAX_REMEMBERED_CHARACTERS = 32
_MAX_REMEMBERED_PIECES = 1 << 17  # about 20 MB of English words


class Tokenizer:
    """A byte-level BPE vocabulary with its split pattern and special tokens.

    Build one with `train`, `load` or `from_tiktoken`.

    Args:
        ranks: Id of each token, by its bytes; must hold all 256 single bytes.
        pattern: Split pattern in tiktoken's syntax.
        special_tokens: Id of each special token; two names may share an id.

    Raises:
        ValueError: If a byte is missing, two tokens share an id, or a special token is empty.

    >>> from llmguide import Tokenizer
    >>> tokenizer = Tokenizer.train("aaabdaaabac", 259)    # the example of Wikipedia's "Byte-pair encoding"
    >>> tokenizer.encode("aaabdaaabac")                    # X d X a c
    [258, 100, 258, 97, 99]
    >>> tokenizer.pieces([258, 100])
    [b'aaab', b'd']
    """

    def __init__(
        self,
        ranks: Mapping[bytes, int],
        *,
        pattern: str = GPT2_PATTERN,
        special_tokens: Mapping[str, int] | None = None,
    ) -> None:
        self.ranks = dict(ranks)
        self.pattern = pattern
        self.special_tokens = dict(special_tokens or {})
        self._split = Pretokenizer(pattern)
        self._ids_of = _PieceIds(self.ranks)
        self._bytes_of = {i: token for token, i in self.ranks.items()}
        if missing := [b for b in range(256) if bytes([b]) not in self.ranks]:
            raise ValueError(f"the ranks lack the single bytes {missing}; some text could not be encoded")
        if "" in self.special_tokens:
            raise ValueError("a special token is the empty string; it would match everywhere")
        if len(self._bytes_of) < len(self.ranks):
            raise ValueError(f"{len(self.ranks)} tokens share {len(self._bytes_of)} ids; give each its own")
        if taken := {token: i for token, i in self.special_tokens.items() if i in self._bytes_of}:
            raise ValueError(
                f"the ids of the special tokens {taken} are taken by ordinary tokens; use others"
            )
        for token, i in self.special_tokens.items():
            self._bytes_of.setdefault(i, token.encode())  # o200k_harmony has two names for one id

    @classmethod
    def train(
        cls,
        text_or_texts: str | Iterable[str],
        vocab_size: int,
        *,
        pattern: str = GPT2_PATTERN,
        special_tokens: Collection[str] = (),
    ) -> Tokenizer:
        """Learn a vocabulary of 256 bytes, then merges, then the special tokens, which get the last ids.

        Merges are those of rustbpe 0.1.0, in order. Special tokens in the texts count as borders between
        documents and are not learned from. If the texts run out of pairs, the vocabulary is smaller than
        requested, with a warning that names both sizes.

        Args:
            text_or_texts: One text, or any iterable of texts, which is read once. Pass a large corpus as
                documents: one document and the distinct words are all that is held in memory.
            vocab_size: Number of token ids, including special tokens.
            pattern: Split pattern in tiktoken's syntax.
            special_tokens: Names of the special tokens.

        Raises:
            ValueError: If ``vocab_size`` is below 256 plus the number of special tokens.

        >>> Tokenizer.train("low low lower", 258, special_tokens=["<|endoftext|>"]).special_tokens
        {'<|endoftext|>': 257}
        """
        special_tokens = _as_names(special_tokens, "special_tokens")
        n_merges = vocab_size - 256 - len(special_tokens)
        if n_merges < 0:
            raise ValueError(
                f"vocab_size={vocab_size} cannot hold 256 bytes and {len(special_tokens)} special tokens; "
                f"ask for at least {256 + len(special_tokens)}"
            )
        split = Pretokenizer(pattern)
        words: Counter[str] = Counter()
        for text in [text_or_texts] if isinstance(text_or_texts, str) else text_or_texts:
            for ordinary in _split_at(special_tokens, text)[::2]:
                words.update(split(ordinary))
        merges = learn_merges({word.encode(): n for word, n in words.items()}, n_merges)
        if len(merges) < n_merges:
            warnings.warn(
                f"the texts are too small for vocab_size={vocab_size}: "
                f"{vocab_size - n_merges + len(merges)} ids are used",
                stacklevel=2,
            )
        ranks = ranks_from_merges(merges)
        special_ids = {token: len(ranks) + i for i, token in enumerate(special_tokens)}
        return cls(ranks, pattern=pattern, special_tokens=special_ids)

    @cached_property
    def vocab_size(self) -> int:
        """Highest id + 1: the rows that a model's embedding needs (``n_vocab`` of tiktoken)."""
        return max(self._bytes_of) + 1

    def encode(self, text: str, *, allowed_special: Collection[str] = ()) -> list[int]:
        """Return the token ids of a text.

        Args:
            text: Any string. Surrogate pairs are joined and lone surrogates become U+FFFD, as in tiktoken.
            allowed_special: Special tokens to recognize in the text, or ``"all"``. Leave it empty for text
                from users: a user who types ``<|endoftext|>`` then gets its characters, not the end of the
                document.

        Raises:
            ValueError: If ``allowed_special`` names something that is not a special token.

        >>> tokenizer = Tokenizer.train("ab", 257, special_tokens=["<|end|>"])
        >>> tokenizer.encode("ab<|end|>", allowed_special={"<|end|>"})
        [97, 98, 256]
        >>> len(tokenizer.encode("ab<|end|>"))
        9
        """
        if not isinstance(text, str):
            raise TypeError(f"text is a {type(text).__name__}, not a str; encode each text by itself")
        if not allowed_special:
            return self._encode_ordinary(text)
        if allowed_special == "all":
            allowed_special = self.special_tokens
        allowed = _as_names(allowed_special, "allowed_special")
        if unknown := set(allowed) - self.special_tokens.keys():
            raise ValueError(
                f"{sorted(unknown)} are not among the special tokens {list(self.special_tokens)}"
            )
        ordinary, *rest = _split_at(allowed, text)
        ids = self._encode_ordinary(ordinary)
        for special, ordinary in zip(rest[::2], rest[1::2], strict=True):
            ids.append(self.special_tokens[special])
            ids += self._encode_ordinary(ordinary)
        return ids

    def _encode_ordinary(self, text: str) -> list[int]:
        return list(chain.from_iterable(map(self._ids_of.__getitem__, self._split(text))))

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """Return the text of token ids; bytes that are not UTF-8, such as half an emoji, become U+FFFD.

        Raises:
            ValueError: If an id is not in the vocabulary.
        """
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Iterable[SupportsIndex]) -> bytes:
        """Return the exact bytes of token ids, special tokens as their UTF-8 text."""
        return b"".join(self.pieces(ids))

    def pieces(self, ids: Iterable[SupportsIndex]) -> list[bytes]:
        """Return the bytes of each token id, for showing the borders between tokens.

        Raises:
            ValueError: If an id is not in the vocabulary.
        """
        try:
            # index: the elements of a tensor are tensors, which are not keys of the dictionary
            return [self._bytes_of[i] for i in map(index, ids)]
        except TypeError as error:
            raise TypeError(f"decode takes the ids of one text, as integers; {error}") from None
        except KeyError as error:
            raise ValueError(
                f"id {error.args[0]} is not in this vocabulary of {self.vocab_size} ids"
            ) from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer atomically as one JSON file with a checksum."""
        content = {
            "pattern": self.pattern,
            "special_tokens": self.special_tokens,
            "ranks": {base64.b64encode(token).decode(): i for token, i in self.ranks.items()},
        }
        document = {"format": _FORMAT, "sha256": _checksum(content), **content}
        write_text(path, json.dumps(document, indent=0))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """Read a tokenizer that `save` wrote.

        Raises:
            ValueError: If the file is damaged, truncated, or of another format.
        """
        try:
            content = json.loads(Path(path).read_bytes())
            intact = content.pop("format") == _FORMAT and content.pop("sha256") == _checksum(content)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            intact = False
        if not intact:
            raise ValueError(f"{path} is damaged or not a file of {_FORMAT!r}; save the tokenizer again")
        ranks = {a2b_base64(token): i for token, i in content.pop("ranks").items()}
        return cls(ranks, **content)

    def to_tiktoken(self, name: str = "llmguide") -> tiktoken.Encoding:
        """Return the same tokenizer as a `tiktoken.Encoding`, with the pattern as it was given."""
        encoding: tiktoken.Encoding = import_module("tiktoken").Encoding(
            name, pat_str=self.pattern, mergeable_ranks=self.ranks, special_tokens=self.special_tokens
        )
        return encoding

    @classmethod
    def from_tiktoken(cls, encoding: tiktoken.Encoding) -> Tokenizer:
        """Return a tokenizer with the vocabulary, pattern and special tokens of a `tiktoken.Encoding`."""
        return cls(
            encoding._mergeable_ranks, pattern=encoding._pat_str, special_tokens=encoding._special_tokens
        )


class _PieceIds(dict[str, tuple[int, ...]]):
    """A cache of the ids of pieces; a new piece is encoded and, unless it is long, cached."""

    def __init__(self, ranks: Mapping[bytes, int]) -> None:
        super().__init__()
        self._ranks = ranks

    def __missing__(self, piece: str) -> tuple[int, ...]:
        word = piece.encode()
        whole = self._ranks.get(word)
        ids = tuple(merge_piece(word, self._ranks)) if whole is None else (whole,)
        if len(piece) <= _MAX_REMEMBERED_CHARACTERS:
            if len(self) >= _MAX_REMEMBERED_PIECES:
                self.clear()
            self[piece] = ids
        return ids


def _split_at(special_tokens: Collection[str], text: str) -> list[str]:
    """Split into ordinary text, special token, ordinary text, ...; of two matches, the longer one wins."""
    if not special_tokens:
        return [text]
    longest_first = sorted(special_tokens, key=len, reverse=True)
    return re.split(f"({'|'.join(map(re.escape, longest_first))})", text)


def _as_names(names: Collection[str], argument: str) -> list[str]:
    if isinstance(names, str) or len(set(names)) < len(names) or "" in names:
        raise ValueError(f"{argument}={names!r} must be a list of names, each once and none empty")
    return list(names)


def _checksum(content: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
