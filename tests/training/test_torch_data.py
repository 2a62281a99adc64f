from dataclasses import replace

import pytest
import torch
from tests.training.small_run import QUICK, T, V, equal_weights, new_model
from torch.utils.data import DataLoader, Dataset, IterableDataset, SubsetRandomSampler, TensorDataset

from llmguide.data.tokens.packing import in_epochs
from llmguide.data.tokens.windows import Batch
from llmguide.training.torch_data import DatasetSequences, as_batch
from llmguide.training.train import train

ROWS = torch.randint(V, (22, T + 1), generator=torch.Generator().manual_seed(1))
CONFIG = replace(QUICK, context_length=None)  # 10 steps of 4, so that an epoch ends in the middle


class Native:
    """The same rows as a source of batches of our own, in the order of a list of positions."""

    def __init__(self, order):
        self.order = order

    def __len__(self) -> int:
        return len(ROWS)

    def batch(self, first: int, size: int) -> Batch:
        rows = ROWS[torch.as_tensor(self.order(first, size))]
        return Batch(rows[:, :-1], rows[:, 1:])


class Items(Dataset):
    def __init__(self, make):
        self.make = make

    def __len__(self) -> int:
        return len(ROWS)

    def __getitem__(self, i: int):
        return self.make(ROWS[i])


KINDS = {
    "tokens": lambda row: row,
    "ids alone": lambda row: {"input_ids": row},
    "ids and labels": lambda row: {"input_ids": row, "labels": row, "attention_mask": torch.ones(T + 1)},
    "lists": lambda row: {"input_ids": row.tolist()},
    "tuples of one": lambda row: (row,),
    "pairs": lambda row: (row[:-1], row[1:]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_dataset_trains_as_the_native_path(kind):
    native, ours = new_model(), new_model()
    order = Native(lambda first, size: in_epochs(first, size, len(ROWS), CONFIG.seed))
    expected = train(native, order, CONFIG, validation=order)
    items = Items(KINDS[kind])
    result = train(ours, items, CONFIG, validation=items)
    assert [r.loss for r in result.history] == [r.loss for r in expected.history]
    assert result.best_val_loss == expected.best_val_loss
    assert equal_weights(native, ours)


@pytest.mark.parametrize("kind", ["tokens", "ids and labels", "tuples of one", "pairs"])
def test_a_loader_trains_as_the_native_path(kind):
    native, ours = new_model(dropout=0.2), new_model(dropout=0.2)
    loader = DataLoader(Items(KINDS[kind]), batch_size=4, drop_last=True)  # 5 batches, then from the start
    order = Native(lambda first, size: range(first % 20, first % 20 + size))
    for model, data in ((native, order), (ours, loader)):
        torch.manual_seed(7)  # the loader must not take the random numbers of dropout
        train(model, data, CONFIG)
    assert equal_weights(native, ours)


def test_a_shuffled_loader_is_resumed_where_it_was(tmp_path):
    def loader() -> DataLoader:
        return DataLoader(TensorDataset(ROWS[:, :-1], ROWS[:, 1:]), batch_size=4, shuffle=True)

    whole, broken, again = (new_model(dropout=0.2) for _ in range(3))
    torch.manual_seed(7)
    expected = train(whole, loader(), CONFIG)

    class Stop:
        def log(self, step: int, values: dict[str, float]) -> None:
            if step == 7:
                raise KeyboardInterrupt

        def text(self, step: int, text: str) -> None: ...

    torch.manual_seed(7)
    with pytest.raises(KeyboardInterrupt):
        train(broken, loader(), replace(CONFIG, log_every=1), folder=tmp_path, logger=Stop())
    torch.manual_seed(8)
    with pytest.warns(UserWarning, match="continues with log_every"):
        result = train(again, loader(), CONFIG, folder=tmp_path)
    assert [r.loss for r in result.history] == [r.loss for r in expected.history]
    assert equal_weights(whole, again)


def test_padding_has_no_target():
    mask = torch.tensor([1, 1, 1, 0])
    item = {"input_ids": torch.tensor([5, 6, 7, 0]), "attention_mask": mask}
    batch = DatasetSequences([item]).batch(0, 1)
    assert (batch.inputs.tolist(), batch.targets.tolist()) == ([[5, 6, 7]], [[6, 7, -100]])


@pytest.mark.parametrize("convert", [lambda item: DatasetSequences([item]).batch(0, 1), as_batch])
def test_padding_on_the_left_is_that_on_the_right(convert):
    ids, labels = torch.tensor([5, 6, 7, 8]), torch.tensor([-100, 6, 7, 8])
    pad = torch.zeros(2, dtype=torch.long)
    left = {"input_ids": torch.cat([pad, ids]), "labels": torch.cat([pad, labels])}
    right = {"input_ids": torch.cat([ids, pad]), "labels": torch.cat([labels, pad])}
    left["attention_mask"] = (torch.arange(6) >= 2).long()
    right["attention_mask"] = (torch.arange(6) < 4).long()
    if convert is as_batch:
        left, right = ({name: row[None] for name, row in item.items()} for item in (left, right))
    found, expected = convert(left), convert(right)
    assert torch.equal(found.inputs, expected.inputs)
    assert torch.equal(found.targets, expected.targets)
    assert found.targets[0, :5].tolist() == [6, 7, 8, -100, -100]


class Endless(IterableDataset):
    """As many rows as there are, without a length."""

    def __iter__(self):
        return iter(KINDS["tokens"](row) for row in ROWS)


def test_a_loader_may_hold_the_validation_data():
    expected = (
        train(new_model(), ROWS.flatten(), QUICK, validation=Items(KINDS["tokens"])).history[-1].val_loss
    )
    for loader in (
        DataLoader(Items(KINDS["tokens"]), batch_size=5, shuffle=True),
        DataLoader(Items(KINDS["tokens"]), batch_size=3, sampler=SubsetRandomSampler(range(len(ROWS)))),
        DataLoader(Endless(), batch_size=4),
    ):
        found = train(new_model(), ROWS.flatten(), QUICK, validation=loader).history[-1].val_loss
        assert found == pytest.approx(expected, rel=1e-5)
    partly = DataLoader(Items(KINDS["tokens"]), batch_size=len(ROWS) - 1, drop_last=True)
    assert train(new_model(), ROWS.flatten(), QUICK, validation=partly).history[-1].val_loss > 0


def test_tokens_may_come_as_one_row_and_several_are_refused():
    losses = [
        train(new_model(), tokens, QUICK).history[-1].loss
        for tokens in (ROWS.flatten(), ROWS.flatten()[None])
    ]
    assert losses[0] == losses[1]
    with pytest.raises(ValueError, match=r"data of shape \(2, .*TensorDataset"):
        train(new_model(), ROWS[:2], QUICK)


def test_a_loader_of_another_batch_size_is_refused():
    for size in (2, 8):
        with pytest.raises(
            ValueError, match=rf"batch_size=4 of the run must be that of the DataLoader, {size}"
        ):
            train(new_model(), DataLoader(Items(KINDS["tokens"]), batch_size=size), CONFIG)


def test_a_loader_of_texts_is_refused():
    with pytest.raises(TypeError, match="encode texts with a tokenizer"):
        train(new_model(), DataLoader(["one", "two"], batch_size=2), replace(CONFIG, batch_size=2))


def test_a_list_of_tokens_is_refused():
    with pytest.raises(
        ValueError, match="an item of the data set is the number 5; give the tokens of all as"
    ):
        train(new_model(), [5, 6, 7], replace(CONFIG, n_steps=1, batch_size=1))
