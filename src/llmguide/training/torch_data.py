"""Train on a `torch.utils.data.Dataset` or `DataLoader`, both adapted to `Sequences`.

An item is a dict with ``input_ids`` and, if they differ, ``labels`` (aligned with the ids as in transformers,
-100: no loss; padding is marked by ``attention_mask``), a tuple ``(inputs, targets)`` whose targets are
already shifted, or a 1-D tensor of tokens, also in a tuple of one. A dict or a tensor of T + 1 tokens gives
T inputs.

A dataset is reshuffled every epoch from the seed of the run, so a resumed run continues at its position and
loads nothing twice. A data loader keeps its own order; a resumed run loads and skips the batches it has
already used. The order is reproducible if the loader is built in the same way: its sampler uses the seed of
the run, or a generator of its own with the same seed. Random augmentation from other generators is not
reproducible.

Leaves out: datasets without a length (`IterableDataset`) outside a loader, and loaders in several processes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeGuard, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from llmguide.data.tokens.packing import in_epochs
from llmguide.data.tokens.windows import IGNORE_INDEX, AnyBatch, Batch
from llmguide.training import distributed

Item = Tensor | Mapping[str, Any] | Sequence[Tensor]  # tokens, or tokens with labels
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@runtime_checkable
class ItemDataset(Protocol[T_co]):
    """Interface of a map-style dataset: a list, a `torch.utils.data.Dataset` or a Hugging Face dataset."""

    def __len__(self) -> int:
        """Return the number of items."""

    def __getitem__(self, index: int, /) -> T_co:
        """Return an item."""


@runtime_checkable
class BatchLoader(Protocol):
    """Interface of an iterable of batches, such as a `torch.utils.data.DataLoader`."""

    batch_size: int | None

    def __iter__(self) -> Iterator[Any]:
        """Return an iterator over the batches of one epoch."""


def is_map_style(data: object) -> TypeGuard[ItemDataset[Any]]:
    """Return whether data have a length and items by number, unlike an iterator or a dict of splits."""
    return isinstance(data, ItemDataset) and not isinstance(data, IterableDataset | Mapping)


def all_items(name: str, data: ItemDataset[T], fix: str) -> list[T]:
    """Return all items of a map-style dataset, by number, because ``iter`` may not end.

    Python iterates over an object without ``__iter__`` until ``__getitem__`` raises IndexError, which that of
    a dataset need not do.

    Raises:
        TypeError: The data are not a map-style dataset; the message begins with the name and ends with the
            fix.

    >>> all_items("prompts", torch.utils.data.Subset(["a", "b", "c"], [2, 0]), "pass a list")
    ['c', 'a']
    """
    if not is_map_style(data):
        raise TypeError(f"{name} is a {type(data).__name__}, without a length or items by number; {fix}")
    return [data[i] for i in range(len(data))]


class DatasetSequences:
    """The items of a dataset in an endless order that is reshuffled every epoch.

    Args:
        dataset: Dataset of items in one of the forms above; shorter ones are padded on the right, without
            targets.
        seed: Seed of the per-epoch shuffle.

    >>> batch = DatasetSequences([torch.tensor([5, 6, 7]), torch.tensor([8, 9])]).batch(0, 2)
    >>> sorted(batch.targets.tolist())
    [[6, 7], [9, -100]]
    """

    def __init__(self, dataset: ItemDataset[Item], *, seed: int = 0):
        if not len(dataset):
            raise ValueError("the dataset is empty; give one with at least one item")
        self.dataset = dataset
        self.seed = seed

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.dataset)

    def batch(self, first: int, size: int) -> Batch:
        """Return the items at positions ``first`` to ``first + size - 1`` of the endless order."""
        order = in_epochs(first, size, len(self), self.seed).tolist()
        pairs = [_inputs_and_targets(self.dataset[i]) for i in order]
        shape = (size, max(len(inputs) for inputs, _ in pairs))
        batch = Batch(torch.zeros(shape, dtype=torch.long), torch.full(shape, IGNORE_INDEX))
        for row, (inputs, targets) in enumerate(pairs):
            batch.inputs[row, : len(inputs)] = inputs
            batch.targets[row, : len(targets)] = targets
        return batch


class LoaderSequences(Generic[AnyBatch]):
    """The batches of a data loader, over many epochs.

    Args:
        loader: Data loader of batches of `batch_size` sequences; the last batch of an epoch may be smaller.
        convert: Function from a batch of the loader to a tuple of tensors, such as `as_batch`.
        seed: Seed of the random numbers that the sampler takes from torch's default generator.
    """

    def __init__(self, loader: BatchLoader, convert: Callable[[Any], AnyBatch], *, seed: int = 0):
        if distributed.world().size > 1:
            raise ValueError("a DataLoader works in one process; with torchrun, pass its dataset instead")
        self.loader = loader
        self.seed = seed
        self.convert = convert
        self._iterator: Iterator[Any] | None = None
        self._next = 0  # index of the batch that the iterator yields next

    def __len__(self) -> int:
        """Return the number of sequences of one epoch."""
        return len(self.loader.dataset)  # type: ignore[attr-defined]

    def batch(self, first: int, size: int) -> AnyBatch:
        """Return the batch at position ``first``; earlier batches are skipped, or loaded again."""
        n = self.loader.batch_size
        if n is None or first % n or size > n:
            raise ValueError(f"batch_size={size} of the run must be that of the DataLoader, {n}")
        if first // n < self._next:
            self._iterator, self._next = None, 0
        while self._next < first // n:
            self._take()
        batch = self.convert(self._take())
        if batch[0] is not None and len(batch[0]) > size:
            raise ValueError(f"batch_size={size} of the run must be that of the DataLoader, {n}")
        return batch

    def _take(self) -> Any:
        # the sampler's random numbers follow from seed and epoch; the model's random state is restored
        with torch.random.fork_rng(devices=[]):
            state = np.random.SeedSequence((self.seed, self._next)).generate_state(1, np.uint64)
            torch.default_generator.manual_seed(int(state[0]))
            taken = None if self._iterator is None else next(self._iterator, None)
            if taken is None:
                self._iterator = iter(self.loader)
                taken = next(self._iterator, None)
        if taken is None:
            raise ValueError("the DataLoader is empty; give one with at least one batch")
        self._next += 1
        return taken


def as_batch(taken: object) -> Batch:
    """Convert a batch of a data loader, in one of the forms above."""
    return Batch(*_inputs_and_targets(taken))


def _inputs_and_targets(item: Any) -> tuple[Tensor, Tensor]:
    """Convert an item or a batch to inputs and shifted targets, as the module says."""
    if isinstance(item, tuple | list) and len(item) in {1, 2} and isinstance(item[0], Tensor):
        if len(item) == 2:
            return item[0], item[1]
        [item] = item  # of a TensorDataset of token rows
    if isinstance(item, list | tuple) and item and isinstance(item[0], str):
        [item, *_] = item  # a batch of texts
    if isinstance(item, str) or (isinstance(item, Mapping) and "input_ids" not in item):
        raise TypeError(
            f"an item of the data set is a {type(item).__name__} without input_ids; encode texts with a "
            "tokenizer, and give each as a tensor or a dict with input_ids"
        )
    if not isinstance(item, Mapping):
        ids = torch.as_tensor(item)
        if not ids.dim():
            raise ValueError(
                f"an item of the data set is the number {ids}; give the tokens of all as one tensor, or each "
                "sequence as a tensor or a dict with input_ids"
            )
        return ids[..., :-1], ids[..., 1:]
    ids = torch.as_tensor(item["input_ids"])
    labels = torch.as_tensor(item.get("labels", ids))
    if "attention_mask" in item:
        is_padding = torch.as_tensor(item["attention_mask"]) == 0
        order = is_padding.to(torch.uint8).argsort(
            dim=-1, stable=True
        )  # padding to the right, where no token sees it
        ids, labels = ids.gather(-1, order), labels.masked_fill(is_padding, IGNORE_INDEX).gather(-1, order)
    return ids[..., :-1], labels[..., 1:]
