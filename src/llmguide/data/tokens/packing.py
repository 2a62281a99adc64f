r"""Training sequences over shards: windows of the stream, rows packed with whole documents, and mixtures.

`llmguide.data.tokens.windows.Windows` cuts the stream every T tokens, across documents. `Packed` fills rows
of T tokens with whole documents where possible; only those longer than T are cut. In both, the input before
the first token of a document is the end-of-text token of the previous one, so that a model learns to start a
document, and each token is a target once per epoch (in windows, all but the first of the stream and an
incomplete window at its end). A row of `Packed` has document ids, with which a model restricts attention to
each document.

Assigning pieces to rows is bin packing. Best-fit decreasing places them from long to short, each where the
least space remains, in $O(n T / 64)$ steps for $n$ pieces.

References: best-fit packing (Ding et al. 2024, arXiv:2404.10830, section 3).

Leaves out: repacking in each epoch; rows are shuffled, but their contents are fixed.

Glossary: ``T`` tokens of a row, ``B`` rows of a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int

from llmguide.data.tokens._fast_packing import check_sizes, fast_best_fit
from llmguide.data.tokens.permutation import Permutation
from llmguide.data.tokens.windows import IGNORE_INDEX, Batch, Sequences, TokenFiles

BLOCK = 1000  # samples of a mixture in which each source has exactly the proportion of its weight
PADDING = -1  # document id of padding


@runtime_checkable
class Stream(TokenFiles, Protocol):
    """Interface of a stream of documents, such as `llmguide.data.tokens.token_files.Shards`."""

    eos_id: int

    def starts(self) -> Int[np.ndarray, " n"]:
        """Return the position of the start of each document, and the end of the last."""


@dataclass(frozen=True)
class PackingReport:
    """Statistics of packing documents into rows of T tokens.

    Attributes:
        n_rows: Number of rows.
        n_documents: Number of documents.
        n_cut: Number of documents longer than T, which are cut.
        n_cut_by_windows: Number of documents that windows of T tokens over the stream would cut.
        padding: Fraction of the positions that are padding.
    """

    n_rows: int
    n_documents: int
    n_cut: int
    n_cut_by_windows: int
    padding: float


class Packed:
    """Rows of whole documents, reshuffled every epoch; each row occurs once per epoch.

    Args:
        stream: Token stream of documents, each with its end-of-text token.
        length: Tokens T of a row, at least 1.
        seed: Seed of the per-epoch shuffle.

    Raises:
        ValueError: The stream is empty or `length` is below 1.

    Memory is 16 bytes per document; only the tokens of a batch are read from the stream.
    """

    def __init__(self, stream: Stream, length: int, *, seed: int = 0) -> None:
        if length < 1 or not len(stream):
            raise ValueError(f"length={length} and the stream's {len(stream)} tokens must be at least 1")
        self.stream = stream
        self.length = length
        self.seed = seed
        borders = stream.starts()
        n_tokens = np.diff(borders)
        # pieces: [start, start + T) of each document, then the rest of it
        n_pieces = -(-n_tokens // length)
        first = np.concatenate([[0], np.cumsum(n_pieces)])
        within = np.arange(first[-1]) - np.repeat(first[:-1], n_pieces)
        starts = np.repeat(borders[:-1], n_pieces) + within * length
        sizes = np.minimum(length, np.repeat(borders[1:], n_pieces) - starts)
        rows = fast_best_fit(sizes, length)
        order = np.argsort(rows, kind="stable")
        self._starts = starts[order]
        self._sizes = sizes[order].astype(np.int32)
        self._row_begins = np.concatenate([[0], np.cumsum(np.bincount(rows))])
        self.report = PackingReport(
            n_rows=len(self),
            n_documents=len(n_tokens),
            n_cut=int((n_tokens > length).sum()),
            n_cut_by_windows=int((borders[:-1] // length != (borders[1:] - 1) // length).sum()),
            padding=1 - len(stream) / (len(self) * length),
        )

    def __len__(self) -> int:
        """Return the number of rows of one epoch."""
        return len(self._row_begins) - 1

    def batch(self, first: int, size: int) -> Batch:
        """Return rows ``first`` to ``first + size - 1`` of the endless order, as `Sequences` asks."""
        shape = (size, self.length)
        inputs = np.full(shape, self.stream.eos_id, np.int64)
        targets = np.full(shape, IGNORE_INDEX, np.int64)
        document_ids = np.full(shape, PADDING, np.int64)
        for i, row in enumerate(in_epochs(first, size, len(self), self.seed).tolist()):
            at = 0
            pieces = range(self._row_begins[row], self._row_begins[row + 1])
            for number, piece in enumerate(pieces):
                start, n = int(self._starts[piece]), int(self._sizes[piece])
                # with the token before it, except for the first token of the stream, where eos_id remains
                text = self.stream[max(0, start - 1) : start + n]
                inputs[i, at + n - len(text) + 1 : at + n] = text[:-1]
                targets[i, at : at + n] = text[-n:]
                document_ids[i, at : at + n] = number
                at += n
        return Batch(*map(torch.from_numpy, (inputs, targets, document_ids)))


def best_fit(sizes: Int[np.ndarray, " n"], capacity: int) -> Int[np.ndarray, " n"]:
    """Assign pieces to rows by best-fit decreasing, which uses at most about 11/9 of the optimal rows.

    Pieces are placed from the longest to the shortest, each into the row with the least sufficient space; of
    several such rows, into the one that was used last. `Packed` uses a faster version.

    Args:
        sizes: Number of tokens of each piece, from 1 to `capacity`.
        capacity: Number of tokens that fit into a row, at least 1.

    Returns:
        The row index of each piece, in the order in which rows were opened.

    Raises:
        ValueError: A piece is empty or larger than a row.

    >>> best_fit(np.array([3, 7, 4, 6]), 10).tolist()  # 7 and 3, 6 and 4
    [0, 0, 1, 1]
    """
    check_sizes(sizes, capacity)
    rows = np.empty(len(sizes), np.int64)
    room: dict[int, int] = {}  # space of each row; the row that was used last is the last key
    for piece in np.argsort(-sizes, kind="stable"):
        fitting = [row for row in reversed(room) if room[row] >= sizes[piece]]
        row = min(fitting, key=room.__getitem__, default=len(room))
        room[row] = room.pop(row, capacity) - int(sizes[piece])
        rows[piece] = row
    return rows


def in_epochs(first: int, size: int, n: int, seed: int) -> Int[np.ndarray, " n"]:
    """Return indices ``first`` to ``first + size - 1`` of an endless order, reshuffled every epoch.

    >>> order = in_epochs(0, 6, 3, seed=0).tolist()
    >>> sorted(order[:3]), sorted(order[3:])
    ([0, 1, 2], [0, 1, 2])
    """
    found = []
    while size:
        epoch, place = divmod(first, n)
        part = min(size, n - place)
        found.append(Permutation(n, (seed, epoch))(np.arange(place, place + part)))
        first, size = first + part, size - part
    return np.concatenate(found) if found else np.empty(0, np.int64)


class Mixture:
    """A mixture of several sources in given proportions.

    Each block of 1,000 sequences has exactly the proportions of the weights (to 1/1,000), in random order.
    Each source has its own epochs; a small source with a large weight is repeated more often.

    Args:
        sources: Sources to mix; all have rows of one length.
        weights: Positive weight of each source; they need not sum to 1.
        seed: Seed of the order of the sources.

    Raises:
        ValueError: The numbers of sources and weights differ, or a weight is not positive or is too small.
    """

    def __init__(self, sources: Sequence[Sequences], weights: Sequence[float], *, seed: int = 0) -> None:
        if len(sources) != len(weights) or not sources or not all(weight > 0 for weight in weights):
            raise ValueError(f"{len(sources)} sources need as many positive weights, not {list(weights)}")
        self.sources = list(sources)
        self.seed = seed
        # differences of rounded cumulative sums, which always sum to BLOCK
        sums = np.rint(np.cumsum(weights) / np.sum(weights) * BLOCK).astype(np.int64)
        self.counts = np.diff(sums, prepend=0)
        if not self.counts.all():
            raise ValueError(
                f"weights {list(weights)} give {self.counts.tolist()} of {BLOCK} samples; leave out a source "
                "that is never sampled, or raise its weight"
            )
        self._block = -1
        # for all batches alike, so that the attention mask does not depend on the sampled sources
        self._packed = any(cast(Batch, source.batch(0, 1)).document_ids is not None for source in sources)

    def __len__(self) -> int:
        """Return the number of sequences of all sources together, which counts as an epoch."""
        return sum(map(len, self.sources))

    def batch(self, first: int, size: int) -> Batch:
        """Return sequences ``first`` to ``first + size - 1`` of the endless order, as `Sequences` asks."""
        drawn, earlier = self._drawn(first, size)
        parts = []
        for source in np.unique(drawn).tolist():
            places = np.flatnonzero(drawn == source)
            batch = self.sources[source].batch(int(earlier[source]), len(places))
            parts.append((places, cast(Batch, batch)))
        whole = _interleaved(parts, size)
        return whole if self._packed else whole._replace(document_ids=None)

    def _drawn(self, first: int, size: int) -> tuple[Int[np.ndarray, " B"], Int[np.ndarray, " sources"]]:
        """Return the source of each sequence, and how many of each source come before the first."""
        block, place = divmod(first, BLOCK)
        order = self._order(block)
        earlier = block * self.counts + np.bincount(order[:place], minlength=len(self.counts))
        drawn = [order[place : place + size]]
        while (missing := size - sum(map(len, drawn))) > 0:
            block += 1
            drawn.append(self._order(block)[:missing])
        return np.concatenate(drawn), earlier

    def _order(self, block: int) -> Int[np.ndarray, " n"]:
        if block != self._block:
            self._block = block
            once = np.repeat(np.arange(len(self.counts)), self.counts)
            self._sources = np.random.default_rng((self.seed, block)).permutation(once)
        return self._sources


def _interleaved(parts: list[tuple[Int[np.ndarray, " _rows"], Batch]], size: int) -> Batch:
    width = parts[0][1].inputs.shape[1]
    whole = Batch(*(torch.zeros(size, width, dtype=torch.long) for _ in range(3)))
    for places, batch in parts:
        if batch.inputs.shape[1] != width:
            raise ValueError(f"sources of a mixture have rows of {width} and {batch.inputs.shape[1]} tokens")
        where = torch.from_numpy(places)
        for out, part in zip(whole, batch, strict=True):
            if part is not None and out is not None:
                out[where] = part
    return whole
