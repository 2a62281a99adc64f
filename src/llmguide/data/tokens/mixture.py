"""Batches drawn from several sources in given proportions, such as 70% web text and 30% code."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from jaxtyping import Int

from llmguide.data.tokens.windows import Batch, Sequences

BLOCK = 1000  # samples of a mixture in which each source has exactly the proportion of its weight


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
            once = np.repeat(np.arange(len(self.counts)), self.counts.astype(np.intp))
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
