"""Tokenize documents with any kind of tokenizer, in one or several processes.

A tokenizer is a `llmguide.tokenization.tokenizer.Tokenizer`, a `tiktoken.Encoding` or a fast tokenizer of
transformers; the functions here hide the differences between them. `encoded` keeps the order of the documents
and a bounded number of them in memory, whatever the number of processes.
"""

import hashlib
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt

from llmguide.data.documents import Document

_CHUNK_CHARACTERS = 1 << 19  # characters per task of a worker: about 0.3 s of work, 0.5 MB of pickling


@runtime_checkable
class Encode(Protocol):
    """Interface of a function that tokenizes a document, without end-of-text token.

    It must be picklable if there are several workers.
    """

    def __call__(self, document: Document, /) -> Sequence[int]:
        """Return the token ids of a document."""


@dataclass(frozen=True)
class Plain:
    """Ordinary tokenization: special tokens in the text are treated as text.

    Attributes:
        tokenizer: Any kind of tokenizer.
    """

    tokenizer: Any

    def __call__(self, document: Document, /) -> list[int]:
        """Return the token ids of the document's text."""
        return encode_ordinary(self.tokenizer, document.text)

    def __repr__(self) -> str:
        return "Plain"


def encode_ordinary(tokenizer: Any, text: str) -> list[int]:
    """Encode text with any kind of tokenizer: special tokens in it are text, and none are added."""
    ids: list[int]
    if _is_hugging_face(tokenizer):
        ids = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    else:
        ids = getattr(tokenizer, "encode_ordinary", tokenizer.encode)(text)
    return ids


def special_tokens(tokenizer: Any) -> dict[str, int]:
    """Return the special tokens of any kind of tokenizer with their ids."""
    if _is_hugging_face(tokenizer):
        return dict(tokenizer.get_added_vocab())
    name = "_special_tokens" if hasattr(tokenizer, "_special_tokens") else "special_tokens"
    tokens: dict[str, int] = getattr(tokenizer, name)
    return tokens


def vocab_size(tokenizer: Any) -> int:
    """Return the vocabulary size of any kind of tokenizer: the highest id + 1."""
    if _is_hugging_face(tokenizer):
        return 1 + max(map(int, tokenizer.get_vocab().values()))
    size: int = getattr(tokenizer, "n_vocab", None) or tokenizer.vocab_size
    return size


def fingerprint(tokenizer: Any) -> str:
    """Return a SHA-256 of a tokenizer: its split pattern, ranks and special tokens.

    A `Tokenizer` and the `tiktoken.Encoding` with the same vocabulary have the same one. For a tokenizer of
    transformers it is the hash of the whole definition.
    """
    if _is_hugging_face(tokenizer):
        return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()
    pattern = getattr(tokenizer, "_pat_str", None) or tokenizer.pattern
    ranks = getattr(tokenizer, "_mergeable_ranks", None) or tokenizer.ranks
    digest = hashlib.sha256(pattern.encode())
    tokens = [*ranks.items(), *((name.encode(), i) for name, i in special_tokens(tokenizer).items())]
    for token, i in sorted(tokens, key=lambda item: (item[1], item[0])):
        digest.update(b"%d %d %b" % (i, len(token), token))
    return digest.hexdigest()


def _is_hugging_face(tokenizer: Any) -> bool:
    return hasattr(tokenizer, "backend_tokenizer")


_encode_here: Callable[[Document], Sequence[int]]


def _start_worker(encode: Encode) -> None:
    global _encode_here  # noqa: PLW0603 (a worker gets the tokenizer once, not with every chunk)
    _encode_here = encode


def _encode_chunk(chunk: list[Document]) -> list[UInt[np.ndarray, " _n"]]:
    return [np.array(_encode_here(document), dtype=np.uint32) for document in chunk]


def encoded(
    documents: Iterator[Document], encode: Encode, workers: int
) -> Iterator[tuple[Document, UInt[np.ndarray, " _n"]]]:
    """Encode documents in order, in this process or in others, with a bounded number of chunks in memory."""
    if workers == 1:
        for document in documents:
            yield document, np.array(encode(document), dtype=np.uint32)
        return
    # spawn: a forked process with torch's threads can hang
    context = multiprocessing.get_context("spawn")
    waiting: deque[tuple[list[Document], futures.Future[list[UInt[np.ndarray, " _n"]]]]] = deque()
    # imported here, because it does not exist without processes (in the browser)
    with futures.ProcessPoolExecutor(workers, context, _start_worker, (encode,)) as pool:
        for chunk in _chunks(documents):
            waiting.append((chunk, pool.submit(_encode_chunk, chunk)))
            if len(waiting) > 2 * workers:
                done, future = waiting.popleft()
                yield from zip(done, future.result(), strict=True)
        for done, future in waiting:
            yield from zip(done, future.result(), strict=True)


def _chunks(documents: Iterable[Document]) -> Iterator[list[Document]]:
    chunk: list[Document] = []
    characters = 0
    for document in documents:
        chunk.append(document)
        characters += len(document.text) + 1
        if characters >= _CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk
