r"""Tokenized text on disk: one long stream in files of bounded size, memory-mapped, checked, and resumable.

The stream is the documents one after another, each with the end-of-text token after it. It is cut every
`shard_tokens` tokens, wherever that falls, so token $i$ is element $i \bmod S$ of file
$\lfloor i / S \rfloor$:

    tokens-00000.bin     S little-endian uint16, or uint32 for more than 65,536 ids
    starts-00000.bin     uint64: position in the stream of each document that begins in this file
    shard-00000.json     counts, SHA-256 of both files, and how far the corpus was read
    index.json           format, vocabulary, counts of the whole; exists only when the stream is complete

Each file is written as `llmguide.files` says, and a shard counts from the moment its JSON file is there. A
writer that was killed continues after the last such shard: it reads the corpus from its beginning, compares a
running hash of the documents with the recorded one, and tokenizes only the rest. The result has the same
bytes as without the interruption, and for any number of processes.

Leaves out: several writers to one folder, and adding documents to a finished stream (write another and mix
them: `llmguide.data.tokens.packing.Mixture`).

Glossary: ``S`` tokens of a full shard, ``N`` tokens of the stream.
"""

import hashlib
import json
import sys
import warnings
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import Any, BinaryIO, cast, overload

import numpy as np
from jaxtyping import Int, UInt

from llmguide.data.documents import Document
from llmguide.data.tokens.encode import Encode, Plain, encoded, fingerprint, special_tokens, vocab_size
from llmguide.files import put, replacing, sha256

FORMAT = "llmguide token shards, version 1"
SHARD_TOKENS = 1 << 26  # 128 MB of uint16
END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class _Progress:
    """How far a writer had read when it closed a shard."""

    n_read: int  # documents
    n_empty: int  # of them, without tokens
    documents_sha256: str  # of ids and texts of those read
    n_written: int  # tokens of the last one that are in this shard or earlier ones; 0: all that there are


class Shards:
    """A finished stream of tokens, read through memory maps; as an array it has a length and slices.

    Args:
        folder: Where `write_shards` wrote.
        tokenizer: The one that the ids are to be used with.
        verify: Compare every file with its SHA-256, about 1 s for each GB. Sizes are always compared.

    Raises:
        ValueError: The stream is unfinished, a file is missing, truncated or altered, or the tokenizer is
            another one than that of the stream. The message names the file.
    """

    def __init__(self, folder: str | Path, tokenizer: Any = None, *, verify: bool = True) -> None:
        self.folder = Path(folder)
        self.index = _read_json(self.folder / "index.json")
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
            shard = _read_json(self.folder / f"shard-{number:05d}.json")
            self._tokens.append(_open(self.folder, shard["tokens"], dtype, verify))
            self._starts.append(_open(self.folder, shard["starts"], np.dtype("<u8"), verify))
            self._first_document.append(self._first_document[-1] + len(self._starts[-1]))
        if (n_tokens := sum(map(len, self._tokens))) != self.index["n_tokens"]:
            raise ValueError(f"{folder} holds {n_tokens} tokens, index.json says {self.index['n_tokens']}")

    def __len__(self) -> int:
        """Tokens of the stream, end-of-text tokens included."""
        return cast(int, self.index["n_tokens"])

    @property
    def n_documents(self) -> int:
        """Documents of the stream; empty ones are not in it."""
        return self._first_document[-1]

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes of text for each token, which turns nats a token into bits a byte."""
        return cast(int, self.index["n_bytes"]) / max(1, len(self))

    @overload
    def __getitem__(self, which: slice) -> UInt[np.ndarray, " n"]: ...
    @overload
    def __getitem__(self, which: int) -> int: ...
    def __getitem__(self, which: slice | int) -> UInt[np.ndarray, " n"] | int:
        """Return tokens; a slice without a step, which may reach over files."""
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
        """Return where each document starts, and at the end `len` of the stream; 8 bytes a document."""
        return np.concatenate([*self._starts, [len(self)]]).astype(np.int64)

    def document(self, number: int) -> UInt[np.ndarray, " n"]:
        """Return the tokens of one document, its end-of-text token included."""
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
    """Tokenize documents into a folder, or go on with it where an earlier call was interrupted.

    Args:
        documents: Read once; must come in the same order if the call is repeated. Those that encode to
            nothing are left out and counted.
        tokenizer: A `llmguide.tokenization.tokenizer.Tokenizer` or a `tiktoken.Encoding`.
        folder: Made if it is missing.
        encode: Another way from document to ids, such as
            `llmguide.data.tokens.fill_in_the_middle.FillInTheMiddle`. Its ``repr`` tells whether an
            interrupted call used the same.
        eos_id: End of a document; by default the id of ``<|endoftext|>``.
        shard_tokens: Tokens of a file.
        workers: Processes that encode. With more than one, a script needs ``if __name__ == "__main__":``, as
            for anything in `multiprocessing`. They hold a few chunks each, whatever the corpus' size.

    Returns:
        The stream.

    Raises:
        ValueError: There is no end-of-text token, the folder holds another corpus, tokenizer or encoding, or
            no document has a token.
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
    writer = _Writer(folder, identity)
    try:
        for document, ids in encoded(writer.unread(documents), encode, workers):
            writer.add(document, ids)
        writer.finish()
    finally:
        writer.discard()
    return Shards(folder, tokenizer, verify=False)


class _Writer:
    """The state between two documents; see the module for the format."""

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self.folder = folder
        self.identity = identity
        self.limit: int = identity["shard_tokens"]
        self.read_hash = hashlib.sha256()
        self.n_read = self.n_empty = self.n_bytes = self.n_tokens = 0
        self.earlier = list(self._earlier())
        self.shard = len(self.earlier)
        self.skip = 0  # tokens of the next document that are in earlier shards
        self.began = self.shown = perf_counter()
        self._new_shard()

    def _earlier(self) -> Iterator[dict[str, Any]]:
        """Return the shards that an interrupted call finished, up to the first damaged one."""
        number = 0
        while (path := self.folder / f"shard-{number:05d}.json").exists():
            try:
                shard = _read_json(path)
                for kind, dtype in (("tokens", self.identity["dtype"]), ("starts", "<u8")):
                    _open(self.folder, shard[kind], np.dtype(dtype), verify=True)
            except ValueError as error:
                warnings.warn(f"tokenizing again from shard {number} on: {error}", stacklevel=5)
                return
            there = shard["identity"]
            if changed := [
                f"{k}={v!r} (there {there[k]!r})" for k, v in self.identity.items() if there[k] != v
            ]:
                raise ValueError(
                    f"{self.folder} was begun with other choices: {', '.join(changed)}; give another folder"
                )
            yield shard
            number += 1

    def unread(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Pass over the documents in earlier shards, comparing their hash, and return the others.

        The last of those that were read is among them if its tokens may go on in the next shard.
        """
        reader = iter(documents)
        document = None
        for shard in self.earlier:
            there = _Progress(**shard["progress"])
            while self.n_read < there.n_read and (document := next(reader, None)) is not None:
                self._count(document)
            if (self.n_read, self.read_hash.hexdigest()) != (there.n_read, there.documents_sha256):
                raise self._other_documents()
            self.n_empty, self.skip = there.n_empty, there.n_written
            self.n_tokens += shard["tokens"]["n_items"]
        return chain([document], reader) if document is not None and self.skip else reader

    def add(self, document: Document, ids: UInt[np.ndarray, " n"]) -> None:
        """Append a document's ids and its end, to as many shards as they take."""
        done, self.skip = self.skip, 0
        if not done:
            self._count(document)
        if not len(ids):
            self.n_empty += 1
            return
        if self.n_tokens % self.limit != self.n_here:  # the last shard was closed before it was full
            raise self._other_documents()
        tokens = np.append(ids, np.uint32(self.identity["eos_id"])).astype(self.identity["dtype"])
        if not done:
            self.starts.append(self.n_tokens)
        while done < len(tokens):
            part = tokens[done : done + self.limit - self.n_here]
            self.file.write(part.tobytes())
            self.n_here += len(part)
            self.n_tokens += len(part)
            done += len(part)
            if self.n_here == self.limit:
                self._close_shard(done if done < len(tokens) else 0)
        self._show()

    def finish(self) -> None:
        """Write the last shard and the index."""
        if self.n_here:
            self._close_shard(0)
        if not self.n_tokens:
            raise ValueError(f"none of the {self.n_read} documents has a token; there is nothing to train on")
        totals = {
            "n_shards": self.shard,
            "n_tokens": self.n_tokens,
            "n_documents": self.n_read - self.n_empty,
        }
        totals |= {"n_empty": self.n_empty, "n_bytes": self.n_bytes}
        _write(self.folder / "index.json", _as_json(self.identity | totals))
        self._show(last=True)

    def discard(self) -> None:
        """Close and remove the unfinished file."""
        try:
            self.file.close()  # writes what is buffered, which a full disk refuses a second time
        finally:
            self.unfinished.unlink(missing_ok=True)

    def _other_documents(self) -> ValueError:
        return ValueError(
            f"{self.folder} holds other documents than these (the first {self.n_read} were compared); give "
            "another folder, or delete this one"
        )

    def _count(self, document: Document) -> None:
        text = document.text.encode("utf-8", "surrogatepass")
        name = document.id.encode("utf-8", "surrogatepass")
        self.read_hash.update(b"%d %d " % (len(name), len(text)) + name + text)
        self.n_read += 1
        self.n_bytes += len(text)

    def _new_shard(self) -> None:
        self.unfinished = self.folder / ".unfinished-tokens"
        self.file: BinaryIO = self.unfinished.open("wb")
        self.starts = array("Q")
        self.n_here = 0

    def _close_shard(self, n_written: int) -> None:
        """Commit a shard; `n_written` as in `_Progress`."""
        names = {kind: f"{kind}-{self.shard:05d}.bin" for kind in ("tokens", "starts")}
        self.file.close()
        put(self.unfinished, self.folder / names["tokens"])
        _write(self.folder / names["starts"], np.array(self.starts, dtype="<u8").tobytes())
        counts = {"tokens": self.n_here, "starts": len(self.starts)}
        progress = _Progress(self.n_read, self.n_empty, self.read_hash.hexdigest(), n_written)
        shard = {"identity": self.identity, "progress": asdict(progress)}
        for kind, name in names.items():
            shard[kind] = {"file": name, "n_items": counts[kind], "sha256": sha256(self.folder / name)}
        _write(self.folder / f"shard-{self.shard:05d}.json", _as_json(shard))
        self.shard += 1
        self._new_shard()

    def _show(self, *, last: bool = False) -> None:
        """Keep one line up to date, where somebody is looking."""
        now = perf_counter()
        if sys.stderr.isatty() and (last or now - self.shown > 0.5):
            self.shown = now
            rate = self.n_bytes / 1e6 / (now - self.began)
            sys.stderr.write(
                f"\r{self.n_read:,} documents  {self.n_tokens:,} tokens  {rate:.2f} MB/s" + "\n" * last
            )
            sys.stderr.flush()


def _open(
    folder: Path, record: dict[str, Any], dtype: "np.dtype[Any]", verify: bool
) -> UInt[np.ndarray, " n"]:
    path = folder / record["file"]
    n_bytes = record["n_items"] * dtype.itemsize
    if not path.is_file() or path.stat().st_size != n_bytes:
        found = f"{path.stat().st_size} bytes" if path.is_file() else "no file"
        raise ValueError(f"{path} should have {n_bytes} bytes, there is {found}; {_AGAIN}")
    if verify and sha256(path) != record["sha256"]:
        raise ValueError(f"{path} is damaged: its SHA-256 is not the recorded one; {_AGAIN}")
    if not record["n_items"]:
        return np.empty(0, dtype)  # an empty file cannot be mapped
    return np.memmap(path, dtype, mode="r")


_AGAIN = "run write_shards again, which redoes what is damaged"


def _as_json(content: dict[str, Any]) -> bytes:
    text = json.dumps(content, sort_keys=True)
    return json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest()} | content, indent=1).encode()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        digest = content.pop("sha256")
        intact = digest == hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    except FileNotFoundError:
        raise ValueError(
            f"{path} is missing: the stream was never finished; run write_shards again"
        ) from None
    except (ValueError, KeyError, AttributeError):
        intact = False
    if not intact:
        raise ValueError(f"{path} is damaged; {_AGAIN}")
    return content


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)
