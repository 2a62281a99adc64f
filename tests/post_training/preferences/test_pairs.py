"""Pairs keep their order, their answers and their reference together; only the answers count."""

import pytest
import torch
from tests.models.test_models import CONFIGS, lively
from torch.utils.data import Dataset

from llmguide.data.tokens.windows import IGNORE_INDEX, Sequences
from llmguide.models import build
from llmguide.post_training.chat import END, START
from llmguide.post_training.preferences.dpo import make_reference_model, sequence_logprob
from llmguide.post_training.preferences.pairs import (
    LengthGroupedPairs,
    PreferenceDataset,
    PreferencePair,
    pair_logprobs,
    render_pair,
)
from llmguide.post_training.sft import completion
from llmguide.tokenization.tokenizer import Tokenizer

PAIRS = [
    PreferencePair(completion([i], [i + 1] * (1 + i % 3)), completion([i], [i + 2] * (1 + i % 2)))
    for i in range(7)
]


def test_by_hand():
    batch = PreferenceDataset(PAIRS[:1]).batch(0, 1)
    assert batch.inputs.tolist() == [[0], [0]]
    assert batch.targets.tolist() == [[1], [2]]
    assert batch.ref_logprobs is None


@pytest.mark.parametrize("name", ["gpt", "llama"])
def test_logprobs_are_those_of_the_rows_alone(name):
    """Padding and company change nothing; the plain formula on all logits is the judge."""
    model = lively(build(CONFIGS[name]))
    batch = PreferenceDataset(PAIRS).batch(0, 7)
    logprobs, lengths = pair_logprobs(model, batch)
    torch.testing.assert_close(logprobs, sequence_logprob(model(batch.inputs), batch.targets))
    for row, length in enumerate(lengths.tolist()):
        width = int((batch.targets[row] != IGNORE_INDEX).nonzero().max()) + 1
        alone = sequence_logprob(
            model(batch.inputs[row : row + 1, :width]), batch.targets[row : row + 1, :width]
        )
        torch.testing.assert_close(logprobs[row : row + 1], alone, atol=1e-5, rtol=1e-5)
        assert length == (batch.targets[row] != IGNORE_INDEX).sum()


def test_the_reference_follows_its_pair():
    reference = lively(build(CONFIGS["gpt"]))
    plain = PreferenceDataset(PAIRS, seed=5)
    known = plain.with_reference(make_reference_model(reference), batch_size=3)
    assert isinstance(known, Sequences)
    assert plain.ref_logprobs is None
    for first, size in ((0, 7), (4, 6), (7, 2)):
        batch = known.batch(first, size)
        assert torch.equal(batch.inputs, plain.batch(first, size).inputs)
        expected, _ = pair_logprobs(reference, batch)
        torch.testing.assert_close(batch.ref_logprobs, expected.detach(), atol=1e-5, rtol=1e-5)


def test_the_reference_keeps_its_mode():
    model = build(CONFIGS["gpt"])
    PreferenceDataset(PAIRS).with_reference(model)
    assert model.training


def test_grouped_pairs_are_each_in_one_batch_of_their_length():
    lengths = [7, 1, 4, 2, 8, 3, 6, 5]
    pairs = [PreferencePair(completion([], [n] * n), completion([], [n])) for n in lengths]
    data = LengthGroupedPairs(pairs, seed=3)
    first, second = ([data.batch(8 * epoch + 2 * i, 2) for i in range(4)] for epoch in (0, 1))
    members = [sorted(batch.ids[:2, 0].tolist()) for batch in first]
    assert sorted(members) == [[1, 2], [3, 4], [5, 6], [7, 8]]
    assert all(batch.ids.shape[1] == longest for batch, (_, longest) in zip(first, members, strict=True))
    assert sorted(sorted(batch.ids[:2, 0].tolist()) for batch in second) == sorted(members)
    assert len({str(batch.ids.tolist()) for batch in first}) == 4


def test_chat_pairs_count_the_last_answer_only():
    tokenizer = Tokenizer.train("", 258, special_tokens=[START, END])
    talk = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    made = render_pair(talk, "good", "bad", tokenizer)
    for side, answer in zip(made[:2], ("good", "bad"), strict=True):
        assert tokenizer.decode([i for i, m in zip(*side, strict=True) if m]) == answer + END


def test_empty_answers():
    """One empty answer has log-probability 0, as TRL has it; two teach nothing."""
    half = PreferencePair(completion([1, 2], []), completion([1, 2], [3]))
    logprobs, lengths = pair_logprobs(build(CONFIGS["gpt"]), PreferenceDataset([half]).batch(0, 1))
    assert (logprobs[0].item(), lengths.tolist()) == (0.0, [0, 1])
    with pytest.raises(ValueError, match=r"both completions of pairs \[1\] are empty"):
        PreferenceDataset([half, PreferencePair(half.chosen, half.chosen)])
    with pytest.raises(ValueError, match=r"pairs \[1\] have an empty text"):
        PreferenceDataset([half, PreferencePair(completion([], []), half.rejected)])
    with pytest.raises(ValueError, match="no pair"):
        PreferenceDataset([])


class Items(Dataset):
    """A map-style dataset that takes any number, so that Python's own iteration would not end."""

    def __len__(self):
        return len(PAIRS)

    def __getitem__(self, i):
        assert i < len(PAIRS), "read past the end"
        return PAIRS[i]


def test_a_dataset_of_pairs_is_read_by_number():
    ours, theirs = (PreferenceDataset(pairs).batch(3, 7) for pairs in (Items(), PAIRS))
    assert torch.equal(ours.ids, theirs.ids)
