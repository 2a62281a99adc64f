"""The loss of fine-tuning is TRL's; padding, packing and the order of rows change nothing."""

from dataclasses import replace

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import trl_peer
from tests.models.test_models import CONFIGS, lively
from tests.parity import assert_parity
from tests.seed import SEED
from torch.utils.data import DataLoader, Dataset

from llmguide.data.tokens import packing
from llmguide.data.tokens.packing import PADDING
from llmguide.data.tokens.windows import IGNORE_INDEX, Batch, Sequences
from llmguide.models import build
from llmguide.post_training import sft
from llmguide.post_training.chat import END, START
from llmguide.post_training.sft import SFTDataset, completion, finetune, sft_loss, shifted
from llmguide.tokenization.tokenizer import Tokenizer
from llmguide.training.config import TrainConfig
from llmguide.training.losses import batch_loss
from llmguide.training.step import accumulate_gradients

EXAMPLES = [
    completion([1, 2, 3], [4, 5]),
    completion([6], [7, 8, 9, 10]),
    completion([], [3, 4]),
    completion([5] * 6, [2]),
]
TOKENIZER = Tokenizer.train("", 258, special_tokens=[START, END])
TALKS = [
    [{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in ("ab", "cb", "eb", "gb")
]
RUN = TrainConfig(n_steps=60, context_length=80, batch_size=4, lr=0.01, schedule="constant")


def small_model():
    return build(replace(CONFIGS["gpt"], vocab_size=258, context_length=80))


def test_by_hand():
    """Two labels of a model that is sure by 3 to 1 and guesses among two: half of -log 0.75 - log 0.5."""
    logits = torch.tensor([[[0.0, 0.0], [3.0, 1.0], [1.0, 1.0]]]).log()
    loss = sft_loss(logits[:, 1:], torch.tensor([[0, 1]]))
    assert loss.item() == pytest.approx((0.2876821 + 0.6931472) / 2, abs=1e-6)


@pytest.mark.parity
@pytest.mark.parametrize("holes", [False, True])
def test_against_trl(holes):
    peer = trl_peer.trainer("sft")
    batch = trl_peer.batch(peer)
    if holes:
        batch["labels"][:, 3::4] = IGNORE_INDEX
    loss, gradients = trl_peer.loss_and_gradients(peer, batch)
    model = trl_peer.ours("policy")
    inputs, targets = batch["input_ids"][:, :-1], batch["labels"][:, 1:]
    plain = sft_loss(model(inputs), targets)
    fast, n = batch_loss(model, Batch(inputs, targets))
    fast.backward()
    assert n == (targets != IGNORE_INDEX).sum()
    against = "trl.SFTTrainer.compute_loss"
    assert_parity(plain, loss, of="llmguide.post_training.sft.sft_loss", against=against, atol=1e-6)
    assert_parity(fast, loss, of="llmguide.training.losses.batch_loss", against=against, atol=1e-6)
    for name, gradient in trl_peer.as_hf_gradients(model).items():
        if name in gradients:
            assert_parity(
                gradient,
                gradients[name],
                of="llmguide.training.losses.batch_loss",
                against=f"{against} (gradients)",
                atol=1e-5,
            )


def test_packing_does_not_compare_each_example_with_all_rows(monkeypatch):
    """The readable `best_fit` takes seconds for 8,000 examples, and four times as long for twice as many."""

    def refused(*_):
        raise AssertionError("packing called the quadratic best_fit")

    for module in (packing, sft):
        monkeypatch.setattr(module, "best_fit", refused, raising=False)
    assert SFTDataset(EXAMPLES, pack_to=9).rows == [[3], [0, 1, 2]]


@pytest.mark.parametrize("name", ["gpt", "llama", "mixtral"])
def test_packed_equals_one_by_one(name):
    """No example sees another: loss and gradients of a packed row are the mean of its examples'."""
    results = []
    packed = SFTDataset(EXAMPLES, pack_to=18).batch(0, 1)
    assert (packed.targets != IGNORE_INDEX).sum() == 8
    for batches in ([packed], [SFTDataset([example]).batch(0, 1) for example in EXAMPLES]):
        model = lively(build(CONFIGS[name]))
        losses = [batch_loss(model, batch) for batch in batches]
        loss = sum(mean * n for mean, n in losses) / 8
        loss.backward()
        results.append([loss, *(p.grad for p in model.parameters() if p.grad is not None)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_padded_equals_one_by_one():
    model = lively(build(CONFIGS["gpt"]))
    loss, n = batch_loss(model, SFTDataset(EXAMPLES).batch(0, 4))
    alone = [batch_loss(model, SFTDataset([example]).batch(0, 1)) for example in EXAMPLES]
    torch.testing.assert_close(loss, sum(mean * k for mean, k in alone) / 8)
    assert n == sum(k for _, k in alone) == 8


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(2, 5)), min_size=1, max_size=12),
    st.sampled_from([None, 9, 20]),
    st.integers(0, 50),
)
def test_an_epoch_has_every_target_once(sizes, pack_to, epoch):
    """Whatever the row, the batch size and the epoch; and any part of the order can be had alone."""
    ids = iter(range(1, 1000))
    examples = [completion([next(ids) for _ in range(a)], [next(ids) for _ in range(b)]) for a, b in sizes]
    data = SFTDataset(examples, pack_to=pack_to, seed=3)
    assert isinstance(data, Sequences)
    whole = data.batch(epoch * len(data), len(data))
    found = whole.targets[whole.targets != IGNORE_INDEX].tolist()
    assert sorted(found) == sorted(int(i) for e in examples for i in shifted(e)[1] if i != IGNORE_INDEX)
    single = [data.batch(epoch * len(data) + i, 1) for i in range(len(data))]
    assert [i for one in single for i in one.targets[one.targets != IGNORE_INDEX].tolist()] == found


def test_padding_is_no_target():
    batch = SFTDataset(EXAMPLES, pack_to=10).batch(0, 2)
    assert (batch.targets[batch.document_ids == PADDING] == IGNORE_INDEX).all()


def test_refusals():
    with pytest.raises(ValueError, match="no example"):
        SFTDataset([])
    with pytest.raises(ValueError, match=r"examples \[1\] are fully masked"):
        SFTDataset([EXAMPLES[0], completion([1, 2], [])])
    with pytest.raises(ValueError, match="do not fit rows of 4"):
        SFTDataset(EXAMPLES, pack_to=4)
    with pytest.raises(ValueError, match="there is no loss"):
        sft_loss(torch.zeros(1, 2, 3), torch.full((1, 2), IGNORE_INDEX))


class Talks(Dataset):
    """A map-style dataset that takes any number, so that Python's own iteration would not end."""

    def __len__(self):
        return len(TALKS)

    def __getitem__(self, i):
        assert i < len(TALKS), "read past the end"
        return TALKS[i]


def test_fine_tuning_takes_a_dataset():
    losses = []
    for talks in (TALKS, Talks()):
        torch.manual_seed(SEED)
        run = replace(RUN, n_steps=2)
        result = finetune(small_model(), talks, TOKENIZER, run, validation=talks)
        losses.append((result.loss, result.best_val_loss))
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            DataLoader(TALKS, collate_fn=list),
            "conversations is a DataLoader, .*llmguide.train takes a DataLoader",
        ),
        ({"train": TALKS}, "conversations is a dict, without"),
        (iter(TALKS), "conversations is a list_iterator, without"),
        ([{"messages": TALKS[0]}], "a conversation is a list of messages, .* got a dict with messages"),
        ([torch.arange(3)], "a conversation is a list of messages, .* got a Tensor"),
        (TALKS[0], "a conversation is a list of messages, .* got a dict with role, content"),
    ],
)
def test_fine_tuning_names_what_it_cannot_take(given, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # it would refuse them first
    with pytest.raises(TypeError, match=message):
        finetune(small_model(), given, TOKENIZER, RUN)
    if not isinstance(given, list):
        with pytest.raises(TypeError, match="validation is a"):
            finetune(small_model(), TALKS, TOKENIZER, RUN, validation=given)


def test_nothing_that_counts_is_a_loss_of_0():
    model = build(CONFIGS["gpt"])
    loss, n = batch_loss(model, Batch(torch.ones(1, 2).long(), torch.full((1, 2), IGNORE_INDEX)))
    assert (loss.item(), n) == (0.0, 0)


def test_accumulation_weighs_tokens():
    """One batch of four examples and four of one, which have different numbers of targets, learn alike."""
    gradients = []
    for size in (4, 1):
        model, data = lively(build(CONFIGS["gpt"])), SFTDataset(EXAMPLES)
        batches = [data.batch(first, size) for first in range(0, 4, size)]
        loss, n = accumulate_gradients(model, batches, loss=batch_loss)
        assert n == 8
        gradients.append([torch.tensor(loss), *(p.grad for p in model.parameters())])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("packed", [False, True])
def test_a_model_learns_to_answer_and_to_stop(packed):
    torch.manual_seed(SEED)
    result = finetune(small_model(), TALKS, TOKENIZER, RUN, packed=packed)
    assert result.history[0].loss > 5
    assert result.loss < 0.3
