import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from llmguide.data.tokens.windows import Batch, Sequences, Windows, to_device

V, T = 11, 6


def some_text(n: int) -> Tensor:
    return torch.randint(V, (n,), generator=torch.Generator().manual_seed(1))


def test_every_token_but_the_first_is_predicted_once_an_epoch():
    windows = Windows(torch.arange(100, 122), 7, seed=3)
    assert len(windows) == 3
    inputs, targets, documents = windows.batch(3, 3)  # the second epoch
    assert documents is None
    assert targets.equal(inputs + 1)
    assert sorted(targets.flatten().tolist()) == list(range(101, 122))


@given(st.integers(2, 40), st.integers(1, 9), st.integers(0, 100), st.lists(st.integers(1, 7), max_size=6))
@settings(max_examples=50, deadline=None)
def test_windows_are_the_same_however_they_are_asked_for(n, length, seed, sizes):
    if n <= length:
        with pytest.raises(ValueError, match=f"{n} tokens are too few for a window of {length}"):
            Windows(torch.arange(n), length)
        return
    windows = Windows(torch.arange(n), length, seed=seed)
    whole = windows.batch(0, sum(sizes) + 1).inputs
    first = 0
    for size in sizes:
        part, targets, _ = Windows(torch.arange(n), length, seed=seed).batch(first, size)
        assert part.equal(whole[first : first + size])
        assert targets.equal(part + 1)
        first += size


def test_the_order_changes_with_epoch_and_seed():
    n = 20 * T + 1
    first, second = (Windows(some_text(n), T).batch(at, 20)[0] for at in (0, 20))
    other = Windows(some_text(n), T, seed=1).batch(0, 20)[0]
    assert not first.equal(second)
    assert not first.equal(other)
    assert sorted(first.tolist()) == sorted(second.tolist()) == sorted(other.tolist())


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32", "int64"])
def test_text_may_be_stored_in_any_integers_on_disk(dtype, tmp_path):
    top = min(60_010, np.iinfo(dtype).max)
    text = np.arange(top - 10, top).astype(dtype)
    text.tofile(tmp_path / "tokens.bin")
    mapped = np.memmap(tmp_path / "tokens.bin", dtype=dtype, mode="r")
    for tokens in mapped, torch.from_numpy(text):
        inputs, targets, _ = Windows(tokens, 4).batch(0, 2)
        assert inputs.dtype == targets.dtype == torch.int64
        assert sorted(inputs.flatten().tolist()) == list(range(top - 10, top - 2))
        assert targets.equal(inputs + 1)


def test_a_batch_moves_as_a_whole():
    ids = torch.zeros(1, 2, dtype=torch.long)
    moved = to_device(Batch(ids, ids), torch.device("meta"))
    assert isinstance(moved, Batch)
    assert (moved.inputs.device.type, moved.targets.device.type, moved.document_ids) == ("meta", "meta", None)
    assert isinstance(Windows(torch.arange(9), 4), Sequences)
