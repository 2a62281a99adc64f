r"""Training sequences over shards: rows packed with whole documents.

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

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int

from llmguide.data.tokens._fast_packing import check_sizes, fast_best_fit
from llmguide.data.tokens.permutation import Permutation
from llmguide.data.tokens.windows import IGNORE_INDEX, Batch, TokenFiles

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
        n_pieces = (-(-n_tokens // length)).astype(np.intp)  # as np.repeat needs: in the browser, 32 bits
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
    rows = np.empty(len(sizes), np.intp)
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
