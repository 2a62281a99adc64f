r"""Tokenized text on disk: a token stream in shards, memory-mapped, checksummed and resumable.

The stream is the concatenation of the documents, each followed by the end-of-text token. It is cut every
`shard_tokens` tokens, even inside documents, so token $i$ is element $i \bmod S$ of file $\lfloor i / S
\rfloor$:

    tokens-00000.bin     S little-endian uint16, or uint32 for more than 65,536 ids
    starts-00000.bin     uint64: position in the stream of each document that begins in this file
    shard-00000.json     counts, SHA-256 of both files, and how far the corpus was read
    index.json           format, vocabulary, counts of the whole; exists only when the stream is complete

Each file is written atomically by `llmguide.files`, and a shard is complete when its JSON file exists. A
writer that was killed continues after the last complete shard: it reads the corpus from the start, compares a
running hash of the documents with the recorded one, and tokenizes only the rest. The result has the same
bytes as without the interruption, for any number of processes.

Leaves out: several writers to one folder, and adding documents to a finished stream (write another and mix
them: `llmguide.data.tokens.mixture.Mixture`).

Glossary: ``S`` tokens of a full shard, ``N`` tokens of the stream.
"""

from bisect import bisect_right
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast, overload

import numpy as np
from jaxtyping import Int, UInt

from llmguide.data.documents import Document
from llmguide.data.tokens._shard_files import open_array, read_json
from llmguide.data.tokens._shard_writer import ShardWriter
from llmguide.data.tokens.encode import Encode, Plain, encoded, fingerprint, special_tokens, vocab_size

FORMAT = "llmguide token shards, version 1"
SHARD_TOKENS = 1 << 26  # 128 MB of uint16
END_OF_TEXT = "<|endoftext|>"


class Shards:
    """A finished token stream, memory-mapped; like an array it has a length and slices.

    Args:
        folder: Folder that `write_shards` wrote.
        tokenizer: Tokenizer to compare with the one that wrote the stream; None: no comparison.
        verify: Whether to compare every file with its SHA-256, about 1 s per GB. Sizes are always compared.

    Raises:
        ValueError: The stream is unfinished, a file is missing, truncated or changed, or the tokenizer
            differs from that of the stream. The message names the file.
    """

    def __init__(self, folder: str | Path, tokenizer: Any = None, *, verify: bool = True) -> None:
        self.folder = Path(folder)
        self.index = read_json(self.folder / "index.json")
        if tokenizer is not None and (found := fingerprint(tokenizer)) != self.index["vocabulary"]:
            raise ValueError(
                f"{folder} was written with the vocabulary {self.index['vocabulary'][:16]}, not with this "
                f"tokenizer's {found[:16]}; use the tokenizer that wrote it, or tokenize again"
            )
        self.eos_id: int = self.index["eos_id"]
        self.shard_tokens: int = self.index["shard_tokens"]
        dtype = np.dtype(self.index["dtype"])
        self._tokens: list[UInt[np.ndarray, " _n"]] = []
        self._starts: list[UInt[np.ndarray, " _n"]] = []
        self._first_document = [0]
        for number in range(self.index["n_shards"]):
            shard = read_json(self.folder / f"shard-{number:05d}.json")
            self._tokens.append(open_array(self.folder, shard["tokens"], dtype, verify))
            self._starts.append(open_array(self.folder, shard["starts"], np.dtype("<u8"), verify))
            self._first_document.append(self._first_document[-1] + len(self._starts[-1]))
        if (n_tokens := sum(map(len, self._tokens))) != self.index["n_tokens"]:
            raise ValueError(f"{folder} holds {n_tokens} tokens, index.json says {self.index['n_tokens']}")

    def __len__(self) -> int:
        """Return the number of tokens of the stream, including end-of-text tokens."""
        return cast(int, self.index["n_tokens"])

    @property
    def n_documents(self) -> int:
        """Number of documents in the stream; empty ones are not in it."""
        return self._first_document[-1]

    @property
    def bytes_per_token(self) -> float:
        """Mean UTF-8 bytes of text per token, which converts nats per token into bits per byte."""
        return cast(int, self.index["n_bytes"]) / max(1, len(self))

    @overload
    def __getitem__(self, which: slice) -> UInt[np.ndarray, " n"]: ...
    @overload
    def __getitem__(self, which: int) -> int: ...
    def __getitem__(self, which: slice | int) -> UInt[np.ndarray, " n"] | int:
        """Return a contiguous slice of tokens, which may span several files."""
        if not isinstance(which, slice):
            which = range(len(self))[which]
            return int(self._tokens[which // self.shard_tokens][which % self.shard_tokens])
        start, stop, step = which.indices(len(self))
        if step != 1:
            raise ValueError(f"step={step}; slices of a stream are contiguous")
        parts = []
        while start < stop:
            shard, place = divmod(start, self.shard_tokens)
            parts.append(self._tokens[shard][place : place + stop - start])
            start += len(parts[-1])
        return parts[0] if len(parts) == 1 else np.concatenate([self._tokens[0][:0], *parts])

    def starts(self) -> Int[np.ndarray, " n"]:
        """Return the start position of each document, then the length of the stream; 8 bytes per document."""
        return np.concatenate([*self._starts, [len(self)]]).astype(np.int64)

    def document(self, number: int) -> UInt[np.ndarray, " n"]:
        """Return the tokens of one document, including its end-of-text token."""
        number = range(self.n_documents)[number]
        return self[self._start(number) : self._start(number + 1)]

    def _start(self, number: int) -> int:
        if number == self.n_documents:
            return len(self)
        shard = bisect_right(self._first_document, number) - 1
        return int(self._starts[shard][number - self._first_document[shard]])


def write_shards(
    documents: Iterable[Document],
    tokenizer: Any,
    folder: str | Path,
    *,
    encode: Encode | None = None,
    eos_id: int | None = None,
    shard_tokens: int = SHARD_TOKENS,
    workers: int = 1,
) -> Shards:
    """Tokenize documents into a folder, or resume an interrupted call.

    Args:
        documents: Documents, read once, in the same order if the call is repeated. Those without tokens are
            dropped and counted.
        tokenizer: Tokenizer: a `llmguide.tokenization.tokenizer.Tokenizer`, a `tiktoken.Encoding` or a fast
            tokenizer of transformers.
        folder: Output folder; created if missing.
        encode: Function from a document to token ids in place of the ordinary one, such as
            `llmguide.data.tokens.fill_in_the_middle.FillInTheMiddle`. A resumed call must use one with the
            same ``repr``.
        eos_id: Id of the end-of-text token, which ends each document; None: that of ``<|endoftext|>``.
        shard_tokens: Number of tokens per file, at least 1.
        workers: Number of processes that encode, at least 1. With more than one, a script needs ``if __name__
            == "__main__":``, as always with `multiprocessing`. Each holds a few chunks in memory.

    Returns:
        The finished token stream.

    Raises:
        ValueError: There is no end-of-text token, the folder belongs to another corpus, tokenizer or
            encoding, or no document has a token.
    """
    if shard_tokens < 1 or workers < 1:
        raise ValueError(f"shard_tokens={shard_tokens} and workers={workers} must be at least 1")
    if eos_id is None:
        eos_id = special_tokens(tokenizer).get(END_OF_TEXT)
    size = vocab_size(tokenizer)
    if eos_id is None or not 0 <= eos_id < size:
        raise ValueError(
            f"eos_id={eos_id} is not among the {size} ids; train the tokenizer with "
            f"special_tokens=[{END_OF_TEXT!r}] or name another id"
        )
    encode = encode or Plain(tokenizer)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    identity = {
        "format": FORMAT,
        "vocabulary": fingerprint(tokenizer),
        "encode": repr(encode),
        "eos_id": eos_id,
        "dtype": "<u2" if size <= 1 << 16 else "<u4",
        "shard_tokens": shard_tokens,
    }
    writer = ShardWriter(folder, identity)
    try:
        for document, ids in encoded(writer.unread(documents), encode, workers):
            writer.add(document, ids)
        writer.finish()
    finally:
        writer.discard()
    return Shards(folder, tokenizer, verify=False)
