"""The resumable writer behind `llmguide.data.tokens.token_files.write_shards`."""

import hashlib
import sys
import warnings
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import UInt

from llmguide.data.documents import Document
from llmguide.data.tokens._shard_files import as_json, open_array, read_json, write
from llmguide.files import put, sha256


@dataclass(frozen=True)
class _Progress:
    """The progress of a writer when it closed a shard."""

    n_read: int  # documents
    n_empty: int  # documents without tokens
    documents_sha256: str  # hash of ids and texts of the documents read
    n_written: int  # tokens of the last document in this shard or earlier ones; 0: all of its tokens


class ShardWriter:
    """A resumable writer of shards; `llmguide.data.tokens.token_files` describes the format."""

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
                shard = read_json(path)
                for kind, dtype in (("tokens", self.identity["dtype"]), ("starts", "<u8")):
                    open_array(self.folder, shard[kind], np.dtype(dtype), verify=True)
            except ValueError as error:
                warnings.warn(f"tokenizing again from shard {number} on: {error}", stacklevel=5)
                return
            there = shard["identity"]
            if changed := [
                f"{k}={v!r} (there {there[k]!r})" for k, v in self.identity.items() if there[k] != v
            ]:
                raise ValueError(
                    f"{self.folder} is of a run with other options: {', '.join(changed)}; give another folder"
                )
            yield shard
            number += 1

    def unread(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Skip the documents in earlier shards, comparing their hash, and return the others.

        The last document read is among them if some of its tokens may belong to the next shard.
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
        """Append a document's ids and its end-of-text token, over as many shards as needed."""
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
            raise ValueError(f"none of the {self.n_read} documents has a token to train on")
        totals = {
            "n_shards": self.shard,
            "n_tokens": self.n_tokens,
            "n_documents": self.n_read - self.n_empty,
        }
        totals |= {"n_empty": self.n_empty, "n_bytes": self.n_bytes}
        write(self.folder / "index.json", as_json(self.identity | totals))
        self._show(last=True)

    def discard(self) -> None:
        """Close and remove the unfinished file."""
        try:
            self.file.close()  # closing flushes the buffer, which fails again on a full disk
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
        """Write a shard and its hashes; `n_written` as in `_Progress`."""
        names = {kind: f"{kind}-{self.shard:05d}.bin" for kind in ("tokens", "starts")}
        self.file.close()
        put(self.unfinished, self.folder / names["tokens"])
        write(self.folder / names["starts"], np.array(self.starts, dtype="<u8").tobytes())
        counts = {"tokens": self.n_here, "starts": len(self.starts)}
        progress = _Progress(self.n_read, self.n_empty, self.read_hash.hexdigest(), n_written)
        shard = {"identity": self.identity, "progress": asdict(progress)}
        for kind, name in names.items():
            shard[kind] = {"file": name, "n_items": counts[kind], "sha256": sha256(self.folder / name)}
        write(self.folder / f"shard-{self.shard:05d}.json", as_json(shard))
        self.shard += 1
        self._new_shard()

    def _show(self, *, last: bool = False) -> None:
        """Update the progress line, if standard error is a terminal."""
        now = perf_counter()
        if sys.stderr.isatty() and (last or now - self.shown > 0.5):
            self.shown = now
            rate = self.n_bytes / 1e6 / (now - self.began)
            sys.stderr.write(
                f"\r{self.n_read:,} documents  {self.n_tokens:,} tokens  {rate:.2f} MB/s" + "\n" * last
            )
            sys.stderr.flush()
