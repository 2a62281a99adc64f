"""Sequences of different lengths in one tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from torch.refusal import refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch.tensor import Tensor


def pad_sequence(
    sequences: Iterable[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Stack sequences ``(T_i, ...)`` to ``(T, B, ...)``, or ``(B, T, ...)``, with padding at one side."""
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"Expected padding_side to be one of left or right, but got {padding_side}.")
    sequences = list(sequences)
    longest = max(len(sequence) for sequence in sequences)
    shape = (len(sequences), longest, *sequences[0].shape[1:])
    out = sequences[0].new_full(shape, padding_value)
    for row, sequence in zip(out, sequences, strict=True):
        n = len(sequence)
        row[longest - n :].copy_(sequence) if padding_side == "left" else row[:n].copy_(sequence)
    return out if batch_first else out.transpose(0, 1)


if not TYPE_CHECKING:  # else mypy would take any name

    def __getattr__(name: str) -> NoReturn:
        raise refusal("torch.nn.utils.rnn", name)
