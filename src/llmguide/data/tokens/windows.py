"""Training data as a function of the position: any part of an endless order of sequences, at any time.

A run resumes its data from the number of sequences that it has used, and several processes that read
different positions share one order without communication.

Glossary: ``B`` sequences, ``T`` tokens of a sequence, ``N`` tokens of a corpus.
"""

from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int, Integer
from torch import Tensor

AnyBatch = TypeVar("AnyBatch", bound=tuple[Tensor | None, ...])


class Batch(NamedTuple):
    """A batch for next-token prediction.

    Attributes:
        inputs: Token ids.
        targets: Id of the token that follows each input; -100: no loss.
        document_ids: Id of the document that each token belongs to, if a sequence packs several that must
            not attend to each other; None: each sequence is one text.
    """

    inputs: Int[Tensor, "B T"]
    targets: Int[Tensor, "B T"]
    document_ids: Int[Tensor, "B T"] | None = None


@runtime_checkable
class Sequences(Protocol):
    """Interface of training data: an endless order of sequences with random access."""

    def __len__(self) -> int:
        """Return the number of sequences of one epoch."""

    def batch(self, first: int, size: int) -> tuple[Tensor | None, ...]:
        """Return the sequences ``first`` to ``first + size - 1``; each epoch has its own order.

        The result depends only on the arguments, which makes a run resumable. It is a `Batch`, or another
        named tuple of tensors that the loss of the run takes.
        """


@runtime_checkable
class TokenFiles(Protocol):
    """Interface of tokens that are read in slices, such as `llmguide.data.tokens.token_files.Shards`."""

    def __len__(self) -> int:
        """Return the number of tokens."""

    def __getitem__(self, which: slice, /) -> "np.ndarray[Any, np.dtype[Any]]":
        """Return a slice of the tokens."""


class Windows:
    """Windows of one long text, reshuffled every epoch; each window occurs once per epoch.

    Neighboring windows share one token, the last target of one and the first input of the next, so every
    token but the first is a target once per epoch; fewer than `length` tokens at the end are dropped.

    Args:
        tokens: Token ids as a tensor or array of integers; from a memory-mapped file, only the windows of a
            batch are read.
        length: Tokens T of a window, at least 1.
        seed: Seed of the per-epoch shuffle.

    Raises:
        ValueError: The text is shorter than a window and its last target.

    >>> windows = Windows(torch.arange(9), length=4)
    >>> len(windows), sorted(windows.batch(0, 2).inputs.tolist())
    (2, [[0, 1, 2, 3], [4, 5, 6, 7]])
    >>> inputs, targets, _ = windows.batch(1_000_000, 1)
    >>> (targets - inputs).tolist()
    [[1, 1, 1, 1]]
    """

    def __init__(
        self,
        tokens: Integer[Tensor, " N"] | Integer[np.ndarray, " N"] | TokenFiles,
        length: int,
        *,
        seed: int = 0,
    ):
        self.tokens = tokens
        self.length = length
        self.seed = seed
        self._epoch = -1
        if len(self) < 1:
            raise ValueError(
                f"{len(tokens)} tokens are too few for a window of {length} and the token after it; "
                f"give at least {length + 1} or a smaller context_length"
            )

    def __len__(self) -> int:
        """Return the number of windows of one epoch."""
        return (len(self.tokens) - 1) // self.length

    def batch(self, first: int, size: int) -> Batch:
        """Return windows ``first`` to ``first + size - 1`` of the endless order, as `Sequences` asks."""
        epochs, places = np.divmod(np.arange(first, first + size), len(self))
        rows = torch.empty(size, self.length + 1, dtype=torch.long)
        for row, epoch, place in zip(rows, epochs.tolist(), places.tolist(), strict=True):
            start = int(self._order(epoch)[place]) * self.length
            window = self.tokens[start : start + self.length + 1]
            row.copy_(window if isinstance(window, Tensor) else torch.from_numpy(window.astype(np.int64)))
        return Batch(rows[:, :-1], rows[:, 1:])

    def _order(self, epoch: int) -> "np.ndarray[Any, np.dtype[np.int64]]":
        # cached, because shuffling millions of windows takes longer than training on a batch
        if epoch != self._epoch:
            self._epoch = epoch
            self._places = np.random.default_rng((self.seed, epoch)).permutation(len(self))
        return self._places


def to_device(batch: AnyBatch, device: torch.device) -> AnyBatch:
    """Copy the tensors of a named tuple to a device.

    >>> to_device(Batch(torch.ones(1, 2).long(), torch.ones(1, 2).long()), torch.device("meta")).inputs.device
    device(type='meta')
    """
    make: Any = type(batch)
    moved: AnyBatch = make(*(None if part is None else part.to(device, non_blocking=True) for part in batch))
    return moved


IGNORE_INDEX = -100  # the label that torch's own cross entropy ignores
