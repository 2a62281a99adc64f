import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmguide.post_training.rl.prompts import PromptDataset


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
