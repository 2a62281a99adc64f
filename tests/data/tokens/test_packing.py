from importlib import import_module
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.parity import assert_parity

from llmguide.config.model_config import ModelConfig
from llmguide.data.documents import Document
from llmguide.data.tokens._fast_packing import fast_best_fit
from llmguide.data.tokens.mixture import Mixture
from llmguide.data.tokens.packing import Packed, best_fit, in_epochs
from llmguide.data.tokens.token_files import write_shards
from llmguide.data.tokens.windows import Batch, Sequences, Windows
from llmguide.models import build
from llmguide.tokenization.tokenizer import Tokenizer

EOS = 0
TOKENIZER = Tokenizer.train("", 257, special_tokens=["<|endoftext|>"])


class InMemory:
    """Documents of given lengths, whose tokens are numbered from 1; the last of each is EOS."""

    eos_id = EOS

    def __init__(self, lengths):
        self.borders = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.tokens = np.arange(1, self.borders[-1] + 1)
        self.tokens[self.borders[1:] - 1] = EOS

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, which):
        return self.tokens[which]

    def starts(self):
        return self.borders


def rows_of(sequences: Sequences) -> list[Batch]:
    return [sequences.batch(i, 1) for i in range(len(sequences))]


# By hand


def test_rows_of_packed_documents():
    # 1 2 3 E | 5 E | 7 8 9 10 11 12 E: the last is cut into 7 8 9 10 11 and 12 E
    packed = Packed(InMemory([4, 2, 7]), 5)
    found = sorted(
        tuple(map(tuple, (b.inputs[0].tolist(), b.targets[0].tolist(), b.document_ids[0].tolist())))
        for b in rows_of(packed)
    )
    assert found == [
        ((0, 1, 2, 3, 0), (1, 2, 3, 0, -100), (0, 0, 0, 0, -1)),
        ((0, 5, 11, 12, 0), (5, 0, 12, 0, -100), (0, 0, 1, 1, -1)),
        ((0, 7, 8, 9, 10), (7, 8, 9, 10, 11), (0, 0, 0, 0, 0)),
    ]
    report = packed.report
    assert (report.n_rows, report.n_documents, report.n_cut) == (3, 3, 1)
    assert report.padding == pytest.approx(2 / 15)
    # windows 0-4, 5-9, 10-14 of the stream cut 5 E (4-5) and the last (6-12)
    assert report.n_cut_by_windows == 2


def test_best_fit_prefers_the_fullest_row():
    # by size: 6 and 5 open rows 0 and 1, which have 4 and 5 left; 4 fits 0 exactly; 3 goes to 1; 2 to 1
    assert best_fit(np.array([6, 5, 4, 3, 2]), 10).tolist() == [0, 1, 0, 1, 1]


def test_the_order_of_each_epoch_is_another():
    first, second = in_epochs(0, 50, 50, seed=1), in_epochs(50, 50, 50, seed=1)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first.tolist() != second.tolist()
    assert in_epochs(40, 20, 50, seed=1).tolist() == [*first[40:], *second[:10]]
    assert in_epochs(0, 50, 50, seed=2).tolist() != first.tolist()


# Properties


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_every_token_is_a_target_once_after_the_token_before_it(lengths, T):
    stream = InMemory(lengths)
    packed = Packed(stream, T, seed=len(lengths))
    batch = packed.batch(0, len(packed))
    real = batch.targets != -100
    assert torch.equal(real, batch.document_ids >= 0)
    assert real.sum() == len(stream)
    number = np.cumsum(np.concatenate([[0], stream.tokens == EOS]))  # document of each token of the stream
    seen = []
    for inputs, targets, documents in zip(*batch, strict=True):
        for document in set(documents.tolist()) - {-1}:
            here = documents == document
            text = targets[here].tolist()
            # numbered tokens tell the place in the stream; a lone EOS is found by the input before it
            start = text[0] - 1 if text[0] else int(inputs[here][0])
            if text[0] or inputs[here][0]:
                assert text == stream.tokens[start : start + len(text)].tolist()
                assert inputs[here].tolist() == [EOS, *stream.tokens][start : start + len(text)]
                assert len(set(number[start : start + len(text)])) == 1
            seen += text
    assert sorted(seen) == sorted(stream.tokens.tolist())
    assert packed.report.padding == pytest.approx(1 - len(stream) / (len(packed) * T))
    assert packed.report.n_cut == sum(n > T for n in lengths)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_best_fit_fills_rows_within_its_bound(sizes):
    rows = best_fit(np.array(sizes), 20)
    assert rows.tolist() == fast_best_fit(np.array(sizes), 20).tolist()
    fill = np.bincount(rows, weights=sizes)
    assert fill.max() <= 20
    assert fill.min() > 0
    assert sum(sorted(fill)[:2]) > 20 or len(fill) == 1  # two that fit together would share a row
    lower_bound = -(-sum(sizes) // 20)
    assert len(fill) <= lower_bound * 3 // 2 + 1


@given(st.integers(0, 60), st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_a_batch_is_its_rows(first, size):
    for sequences in (
        Packed(InMemory([3, 9, 4, 1, 1, 6]), 4),
        Mixture([Packed(InMemory([3, 5]), 4), Windows(torch.arange(50), 4)], [0.3, 0.7]),
    ):
        batch = sequences.batch(first, size)
        for i in range(size):
            one = sequences.batch(first + i, 1)
            assert torch.equal(batch.inputs[i], one.inputs[0])
            assert torch.equal(batch.targets[i], one.targets[0])
            assert torch.equal(batch.document_ids[i], one.document_ids[0])


def test_packed_documents_give_the_losses_they_have_alone(tmp_path):
    torch.manual_seed(0)
    texts = ["to be or not", "that is", "the question:", "whether", "'tis nobler in the mind"]
    documents = [Document(text, text, "") for text in texts]
    shards = write_shards(documents, TOKENIZER, tmp_path, shard_tokens=10)
    config = ModelConfig(vocab_size=257, context_length=24, n_layers=2, d_model=12, n_heads=2)
    model = build(config)
    batch = Packed(shards, 24).batch(0, len(Packed(shards, 24)))
    packed = sum(_losses(model, batch))
    alone = 0.0
    for text in texts:
        ids = torch.tensor([256, *text.encode(), 256])
        alone += sum(_losses(model, Batch(ids[None, :-1], ids[None, 1:])))
    assert packed == pytest.approx(alone, rel=1e-5)


def _losses(model, batch: Batch) -> list[float]:
    logits = model(batch.inputs, document_ids=batch.document_ids)
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), batch.targets, reduction="none")
    return losses[batch.targets != -100].tolist()


def test_windows_read_over_files(tmp_path):
    shards = write_shards(
        [Document("x" * 40, "x", ""), Document("yz", "y", "")], TOKENIZER, tmp_path, shard_tokens=7
    )
    on_disk, in_memory = Windows(shards, 5), Windows(torch.from_numpy(shards[:].astype(np.int64)), 5)
    assert len(on_disk) == 8
    for i in range(20):
        assert torch.equal(on_disk.batch(i, 3).inputs, in_memory.batch(i, 3).inputs)


@pytest.mark.parity
def test_rows_are_filled_as_by_trl(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets, trl = import_module("datasets"), import_module("trl")  # seconds that other tests need not wait
    rng = np.random.default_rng(0)
    stream = InMemory(rng.geometric(1 / 20, 400))
    texts = [stream[a:b].tolist() for a, b in pairwise(stream.starts())]
    theirs = trl.pack_dataset(datasets.Dataset.from_dict({"input_ids": texts}), 32, strategy="bfd_split")
    packed = Packed(stream, 32)
    ours = (packed.batch(0, len(packed)).targets != -100).sum(1)
    assert_parity(
        ours.sort().values,
        sorted(map(len, theirs["input_ids"])),
        of="llmguide.data.tokens.packing.Packed",
        against="trl.pack_dataset",
        atol=0,
    )


# Adversaries


def test_one_document_longer_than_everything_and_documents_of_one_token():
    packed = Packed(InMemory([1, 1000, 1, 1]), 8)
    assert (packed.report.n_cut, len(packed)) == (1, 126)  # 125 full rows, one of three
    assert Packed(InMemory([1, 1, 1]), 1).batch(0, 3).targets.tolist() == [[EOS]] * 3


@pytest.mark.parametrize(("lengths", "T"), [([], 4), ([3], 0)])
def test_nothing_to_pack_is_refused(lengths, T):
    with pytest.raises(ValueError, match="must be at least 1"):
        Packed(InMemory(lengths), T)


@pytest.mark.parametrize("sizes", [[3, 11], [0, 3]])
def test_pieces_that_fit_no_row_are_refused(sizes):
    with pytest.raises(ValueError, match="do not fit rows of 10"):
        best_fit(np.array(sizes), 10)
