from functools import partial

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.post_training.rl.test_trainer_distributed import learner
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from llmguide.post_training.rl.prompts import PromptDataset, as_prompts

ROWS = torch.tensor([[1, 2], [3, 4], [5, 6], [2, 4]])


class Items(Dataset):
    """A map-style dataset that takes any number, so that Python's own iteration would not end."""

    def __init__(self, make):
        self.make = make

    def __len__(self) -> int:
        return len(ROWS)

    def __getitem__(self, i: int):
        assert i < len(ROWS), "read past the end"
        return self.make(ROWS[i])


class Stream(IterableDataset):
    def __iter__(self):
        return iter(ROWS)


def padded(row):
    """A prompt with padding on the right, as most collate functions put it."""
    return {"input_ids": [*row.tolist(), 0], "attention_mask": [1, 1, 0]}


def as_tensors(row):
    return {key: torch.tensor(value) for key, value in padded(row).items()}


FORMS = {
    "2-D tensor": ROWS,
    "list of tensors": list(ROWS),
    "TensorDataset": TensorDataset(ROWS),
    "Dataset of lists": Items(lambda row: row.tolist()),
    "Dataset of tensors": Items(lambda row: row),
    "Dataset of dicts": Items(lambda row: {"input_ids": row}),
    "Dataset of padded dicts": Items(padded),
}
LOADED = {
    "tensors": ROWS,
    "TensorDataset": TensorDataset(ROWS),
    "dicts": Items(lambda row: {"input_ids": row}),
    "padded dicts": Items(as_tensors),
    "stream": Stream(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_dataset_gives_the_prompts_of_the_lists(form):
    expected, data = as_prompts(ROWS.tolist(), seed=5), as_prompts(FORMS[form], seed=5)
    for first in range(6):
        for ours, theirs in zip(data.batch(first, 3), expected.batch(first, 3), strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("form", LOADED)
def test_a_loader_keeps_its_order_and_pads_on_the_left(form):
    data = as_prompts(DataLoader(LOADED[form], batch_size=2))
    for first, rows in ((0, ROWS[:2]), (2, ROWS[2:]), (4, ROWS[:2]), (2, ROWS[2:])):
        ids, attention_mask = data.batch(first, 2)
        assert torch.equal(ids, rows)
        assert attention_mask.all()


@pytest.mark.parametrize("method", ["ppo", "grpo"])
def test_a_trainer_takes_them(method, tmp_path):
    """All prompts are the same here, because a loader keeps its order and a dataset is shuffled."""
    found = []
    for rows in ([[1, 2]] * 2, TensorDataset(ROWS[[0, 0]]), DataLoader(ROWS[[0] * 6], batch_size=6)):
        torch.manual_seed(0)
        found.append(learner(method).train(rows, folder=tmp_path / str(len(found))))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (5, "prompts is a int, without a length or items by number; give a list"),
        (iter([[1]]), "prompts is a list_iterator"),
        (Stream(), "prompts is a Stream"),
        ({"input_ids": ROWS}, "prompts is a dict"),
        (["text"], "prompt 0 is a str; give token ids as a list"),
        (ROWS[0], r"prompt 0 is a Tensor \(\) of torch.int64; give token ids"),
        (ROWS.float(), r"prompt 0 is a Tensor \(2,\) of torch.float32"),
        ([[1], {"text": "a"}], "prompt 1 is a dict"),
        (ROWS[None], r"prompt 0 is a Tensor \(4, 2\)"),
    ],
)
def test_other_prompts_are_named(given, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # it would refuse them first
    with pytest.raises(TypeError, match=message):
        as_prompts(given)


def test_other_loaders_are_named():
    ragged = partial(DataLoader, batch_size=2, collate_fn=list)
    for loader in (ragged([[1], [2, 3]]), DataLoader(["one", "two"], batch_size=2)):
        with pytest.raises(TypeError, match="a batch of the DataLoader is a list; give a 2-D tensor"):
            as_prompts(loader).batch(0, 2)
    with pytest.raises(ValueError, match="batch_size=2 of the run must be that of the DataLoader, 4"):
        as_prompts(DataLoader(ROWS, batch_size=4)).batch(0, 2)
    with pytest.raises(ValueError, match=r"1 prompts, of which \[0\] are empty"):
        as_prompts(DataLoader([{"input_ids": ROWS[0], "attention_mask": 0 * ROWS[0]}])).batch(0, 1)


@given(st.integers(1, 7), st.integers(0, 40), st.integers(1, 20), st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_prompts_are_a_function_of_their_place_and_each_comes_once_an_epoch(n, first, size, seed):
    rows = [[i + 1] * (i + 1) for i in range(n)]
    data = PromptDataset(rows, seed=seed)

    def taken(first: int, size: int) -> list[list[int]]:
        ids, mask = data.batch(first, size)
        assert mask[:, -1].all()  # padded on the left
        return [row[kept].tolist() for row, kept in zip(ids, mask, strict=True)]

    assert taken(first, size) == [taken(i, 1)[0] for i in range(first, first + size)]
    assert sorted(taken(2 * n, n)) == rows


def test_empty_prompts_are_named():
    with pytest.raises(ValueError, match=r"2 prompts, of which \[1\] are empty"):
        PromptDataset([[1], []])
    with pytest.raises(ValueError, match="0 prompts"):
        PromptDataset([])
