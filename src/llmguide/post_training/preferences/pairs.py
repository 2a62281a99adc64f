r"""Pairs of answers to one prompt, the better one first: the data of preference learning, as batches.

A batch is the chosen answers and below them the rejected ones, so that a model runs once for both. Only the
tokens of the answers meet the output head. A reference does not change while the policy learns, so its
log-probabilities may be computed once (`Pairs.with_reference`) instead of in every epoch.

Leaves out: running a shared prompt once for both answers.

Glossary: ``B`` pairs, ``B2`` their answers, ``T`` tokens of a row, ``N`` pairs of an epoch.
"""

from collections.abc import Sequence
from copy import copy
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmguide.data.tokens.packing import in_epochs
from llmguide.data.tokens.windows import IGNORE_INDEX, to_device
from llmguide.post_training.chat import Message, Rendered, render_chat
from llmguide.post_training.sft import padded, shifted
from llmguide.training.losses import head_weight, token_logprobs


class Pair(NamedTuple):
    """Two answers to one prompt.

    Attributes:
        chosen: Prompt and better answer; the mask has the answer.
        rejected: Prompt and worse answer.
    """

    chosen: Rendered
    rejected: Rendered


def pair(prompt: Sequence[Message], chosen: str, rejected: str, tokenizer: Any, **options: Any) -> Pair:
    """Render two answers to a conversation; earlier turns of the assistant do not count.

    Args:
        prompt: Messages up to the question.
        chosen: Text of the better answer.
        rejected: Text of the worse.
        tokenizer: As in `llmguide.post_training.chat.render_chat`.
        options: Of `llmguide.post_training.chat.render_chat`.

    Returns:
        The pair.
    """
    return Pair(
        *(
            render_chat(
                [*prompt, {"role": "assistant", "content": answer}],
                tokenizer,
                last_turn_only=True,
                **options,
            )
            for answer in (chosen, rejected)
        )
    )


class PairBatch(NamedTuple):
    """Pairs as rows: all chosen answers, then all rejected ones.

    Attributes:
        inputs: Ids, padded on the right.
        targets: The token after each where it belongs to the answer, else -100.
        reference: Log-probability of each answer by the reference, where it is known already.
    """

    inputs: Int[Tensor, "B2 T"]
    targets: Int[Tensor, "B2 T"]
    reference: Float[Tensor, " B2"] | None = None


class Pairs:
    """Pairs in an order drawn anew each epoch; within an epoch each comes once.

    Args:
        pairs: Of `pair`, or made with `llmguide.post_training.sft.completion`.
        seed: Of the order.
        reference: Log-probabilities by the reference, chosen and rejected; `with_reference` computes them.

    Raises:
        ValueError: There is no pair, or one has two empty answers.
    """

    def __init__(
        self, pairs: Sequence[Pair], *, seed: int = 0, reference: Float[Tensor, "N 2"] | None = None
    ):
        self.pairs = [(shifted(chosen), shifted(rejected)) for chosen, rejected in pairs]
        self.seed = seed
        self.reference = reference
        if not self.pairs:
            raise ValueError("there is no pair to learn from")
        if empty := [
            i
            for i, both in enumerate(self.pairs)
            if all((answer[1] == IGNORE_INDEX).all() for answer in both)
        ]:
            raise ValueError(
                f"both answers of pairs {empty[:10]} are empty: end each with an end-of-text token"
            )

    def __len__(self) -> int:
        """Pairs of one epoch."""
        return len(self.pairs)

    def batch(self, first: int, size: int) -> PairBatch:
        """Return pairs ``first`` to ``first + size - 1`` of the endless order, as `Sequences` asks."""
        return self._rows(in_epochs(first, size, len(self), self.seed).tolist())

    def _rows(self, places: list[int]) -> PairBatch:
        inputs, targets, _ = padded([[self.pairs[i][side]] for side in (0, 1) for i in places])
        known = None if self.reference is None else self.reference[places].T.flatten()
        return PairBatch(inputs, targets, known)

    def with_reference(self, reference: nn.Module, *, batch_size: int = 16) -> "Pairs":
        """Return the same pairs with the log-probabilities of a reference, which is then needed no more."""
        found = torch.empty(len(self), 2)
        for start in range(0, len(self), batch_size):
            places = list(range(start, min(start + batch_size, len(self))))
            found[places] = reference_logprobs(reference, self._rows(places)).view(2, -1).T.cpu()
        known = copy(self)
        known.reference = found
        return known


def pair_logprobs(model: Any, batch: PairBatch) -> tuple[Float[Tensor, " B2"], Int[Tensor, " B2"]]:
    """Compute `sequence_logprob` of every answer, with the output head on the answers only.

    Args:
        model: A decoder of `llmguide.models`.
        batch: Chosen and rejected answers, which share the forward pass.

    Returns:
        Log-probabilities in float32 or wider, and the tokens of each answer; an empty answer has 0 and 0.
    """
    logprobs = token_logprobs(model.hidden(batch.inputs), head_weight(model), batch.targets)
    return logprobs.sum(dim=-1), (batch.targets != IGNORE_INDEX).sum(dim=-1)


@torch.no_grad()
def reference_logprobs(reference: nn.Module, batch: PairBatch) -> Float[Tensor, " B2"]:
    """Compute the log-probabilities of a model that is only compared with: no gradient, dropout off."""
    was_training = reference.training
    reference.eval()
    device = next(reference.parameters()).device
    logprobs, _ = pair_logprobs(reference, to_device(batch, device))
    reference.train(was_training)
    return logprobs
