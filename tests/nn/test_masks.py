import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.parity import assert_parity
from torch.nn.attention.bias import causal_lower_right
from transformers.masking_utils import (
    causal_mask_function,
    packed_sequence_mask_function,
    sliding_window_causal_mask_function,
)

from llmguide.nn.masks import causal_mask, document_mask, padding_mask, prefix_mask, sliding_window_mask

sizes = st.integers(0, 7)


def materialized(allowed, T_q, T_k):
    """Evaluate a rule of transformers, (batch, head, query, key) -> bool, with queries at the end."""
    rows = range(T_k - T_q, T_k)
    return [[bool(allowed(0, 0, torch.tensor(i), torch.tensor(j))) for j in range(T_k)] for i in rows]


@pytest.mark.parity
@pytest.mark.parametrize(("T_q", "T_k"), [(5, 5), (1, 7), (3, 7)])
def test_causal_mask_is_torchs_lower_right_bias(T_q, T_k):
    peer = causal_lower_right(T_q, T_k)._materialize()
    of = "llmguide.nn.masks.causal_mask"
    assert_parity(
        causal_mask(T_q, T_k), peer, of=of, against="torch.nn.attention.bias.causal_lower_right", atol=0
    )


@pytest.mark.parity
@pytest.mark.parametrize(("T_q", "T_k"), [(5, 5), (1, 7), (3, 7)])
def test_masks_follow_the_rules_of_transformers(T_q, T_k):
    window = sliding_window_mask(T_q, T_k, window=3)
    for ours, rule, of, against in (
        (causal_mask(T_q, T_k), causal_mask_function, "causal_mask", "causal_mask_function"),
        (
            window,
            sliding_window_causal_mask_function(3),
            "sliding_window_mask",
            "sliding_window_causal_mask_function",
        ),
    ):
        peer = torch.tensor(materialized(rule, T_q, T_k))
        assert_parity(
            ours, peer, of=f"llmguide.nn.masks.{of}", against=f"transformers.masking_utils.{against}", atol=0
        )


@pytest.mark.parity
def test_document_mask_follows_the_rule_of_transformers():
    document_ids = torch.tensor([[0, 0, 1, 1, 1, 2, 2]])
    peer = torch.tensor(materialized(packed_sequence_mask_function(document_ids), 7, 7))
    assert_parity(
        document_mask(document_ids)[0, 0],
        peer,
        of="llmguide.nn.masks.document_mask",
        against="transformers.masking_utils.packed_sequence_mask_function",
        atol=0,
    )


def test_queries_without_keys_before_them_see_nothing():
    assert causal_mask(3, 2).tolist() == [[False, False], [True, False], [True, True]]


def test_a_window_that_covers_everything_is_the_causal_mask():
    assert torch.equal(sliding_window_mask(3, 7, window=7), causal_mask(3, 7))
    assert torch.equal(sliding_window_mask(5, window=1), torch.eye(5, dtype=torch.bool))


def test_prefix_mask_ends():
    assert torch.equal(prefix_mask(3, 5, prefix=0), causal_mask(3, 5))
    assert prefix_mask(3, 5, prefix=5).all()


def test_a_prefix_for_each_row():
    prefixes = torch.tensor([0, 2, 5])
    mask = causal_mask(5) | padding_mask(prefixes, 5)
    for row, prefix in zip(mask, prefixes.tolist(), strict=True):
        assert torch.equal(row[0], prefix_mask(5, prefix=prefix))


@given(lengths=st.lists(st.integers(0, 7), min_size=1, max_size=5))
def test_lengths_and_attention_masks_agree(lengths):
    attention_mask = torch.tensor([[1] * n + [0] * (7 - n) for n in lengths])
    expected = attention_mask.bool().view(-1, 1, 1, 7)
    assert torch.equal(padding_mask(torch.tensor(lengths), 7), expected)
    assert torch.equal(padding_mask(attention_mask), expected)
    assert torch.equal(padding_mask(attention_mask.bool()), expected)


@given(past=sizes, new=sizes, window=st.integers(1, 8))
def test_masks_of_the_last_queries_are_the_last_rows(past, new, window):
    """What a cache relies on: rows for the new tokens are those of the full mask."""
    T = past + new
    for rows, full in (
        (causal_mask(new, T), causal_mask(T)),
        (sliding_window_mask(new, T, window=window), sliding_window_mask(T, window=window)),
        (prefix_mask(new, T, prefix=2), prefix_mask(T, prefix=2)),
    ):
        assert torch.equal(rows, full[past:])


def test_padding_left_and_right_combines_with_causal():
    left = torch.tensor([[0, 1, 1]])
    assert (causal_mask(3) & padding_mask(left)).int().tolist() == [[[[0, 0, 0], [0, 1, 0], [0, 1, 1]]]]


def test_packed_documents_for_a_decoder():
    mask = causal_mask(4) & document_mask(torch.tensor([[3, 3, 1, 1]]))
    assert mask.int().tolist() == [[[[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]]]


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="window=0"):
        sliding_window_mask(3, window=0)
    with pytest.raises(ValueError, match=r"\(1, 2, 3\)"):
        padding_mask(torch.ones(1, 2, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"bool of shape \(3,\)"):  # as lengths it would be 1, 0, 1
        padding_mask(torch.tensor([True, False, True]))
    with pytest.raises(ValueError, match="T_k=4"):
        padding_mask(torch.ones(2, 3, dtype=torch.int64), 4)
