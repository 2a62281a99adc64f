r"""Preference pairs, and the batches that DPO-like losses and reward models train on.

A batch holds the chosen texts and then the rejected ones, so one forward pass runs both. DPO uses
the log-probabilities of the completions; a reward model scores whole texts. A reference model does not change
while the policy trains, so its log-probabilities can be computed once
(`PreferenceDataset.with_reference`) instead of in every epoch.

Leaves out: running a shared prompt once for both completions.

Glossary: ``B`` pairs, ``B2`` their 2B texts, ``T`` tokens of a row, ``N`` pairs of an epoch.
"""

from collections.abc import Sequence
from copy import copy
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from llmguide.data.tokens.packing import in_epochs
from llmguide.data.tokens.windows import IGNORE_INDEX, to_device
from llmguide.post_training.chat import Message, TokenizedChat, render_chat
from llmguide.training.losses import head_logprobs
from llmguide.training.torch_data import ItemDataset, all_items


class PreferencePair(NamedTuple):
    """Two completions of one prompt, the preferred one first.

    Attributes:
        chosen: Token ids of the prompt and the preferred completion; the mask is True on the completion.
        rejected: Token ids of the prompt and the other completion, masked alike.
        margin: Minimum difference of rewards that a reward model should learn.
    """

    chosen: TokenizedChat
    rejected: TokenizedChat
    margin: float = 0.0


def render_pair(
    prompt: Sequence[Message], chosen: str, rejected: str, tokenizer: Any, **options: Any
) -> PreferencePair:
    """Tokenize two completions of a conversation; only they have a loss, not earlier turns.

    Args:
        prompt: Messages up to the last question.
        chosen: Text of the preferred completion.
        rejected: Text of the other completion.
        tokenizer: Tokenizer, as in `llmguide.post_training.chat.render_chat`.
        options: Further arguments of `llmguide.post_training.chat.render_chat`.

    Returns:
        The tokenized pair.
    """

    def render(completion: str) -> TokenizedChat:
        messages = [*prompt, {"role": "assistant", "content": completion}]
        return render_chat(messages, tokenizer, last_turn_only=True, **options)

    return PreferencePair(render(chosen), render(rejected))


class PreferenceBatch(NamedTuple):
    """Preference pairs as rows: all chosen texts, then all rejected ones.

    Attributes:
        ids: Token ids, padded on the right ``(B2, T)``.
        attention_mask: True for tokens, False for padding ``(B2, T)``.
        completion_mask: True for the tokens of the completions ``(B2, T)``.
        margin: Minimum difference of rewards of each pair ``(B,)``.
        ref_logprobs: Log-probability of each completion under the reference model, if known ``(B2,)``.
    """

    ids: Tensor
    attention_mask: Tensor
    completion_mask: Tensor
    margin: Tensor
    ref_logprobs: Tensor | None = None

    @property
    def inputs(self) -> Int[Tensor, "B2 T_in"]:
        """Token ids without the last of each row, which predicts nothing."""
        return self.ids[:, :-1]

    @property
    def targets(self) -> Int[Tensor, "B2 T_in"]:
        """The token after each input if it belongs to the completion, else -100."""
        return self.ids[:, 1:].where(self.completion_mask[:, 1:], IGNORE_INDEX)


class PreferenceDataset:
    """Preference pairs in an order that is reshuffled every epoch, as `llmguide.training.train` takes data.

    Args:
        pairs: Results of `render_pair`, or pairs of `llmguide.post_training.sft.completion`, in a list or a
            map-style dataset, which is read once.
        max_length: Tokens to keep of each text, the last ones, because a completion that is cut at its end is
            not the one that was compared; None: all.
        seed: Seed of the per-epoch shuffle.
        ref_logprobs: Log-probabilities of chosen and rejected completions under the reference model;
            `with_reference` computes them.

    Raises:
        TypeError: The pairs are not a map-style dataset.
        ValueError: There is no pair, a text is empty, or both completions of a pair are.

    >>> from llmguide.post_training.sft import completion
    >>> pairs = [PreferencePair(completion([1], [2, 3]), completion([1], [4]))]
    >>> batch = PreferenceDataset(pairs).batch(0, 1)
    >>> batch.ids.tolist(), batch.targets.tolist()
    ([[1, 2, 3], [1, 4, 0]], [[2, 3], [4, -100]])
    """

    unit = "pairs"  # of the speed in logs

    def __init__(
        self,
        pairs: ItemDataset[PreferencePair],
        *,
        max_length: int | None = None,
        seed: int = 0,
        ref_logprobs: Float[Tensor, "N 2"] | None = None,
    ):
        pairs = all_items("pairs", pairs, "give a list or a map-style Dataset of results of render_pair")
        if not pairs:
            raise ValueError("there is no pair to learn from")
        if empty := [i for i, pair in enumerate(pairs) if not pair.chosen.ids or not pair.rejected.ids]:
            raise ValueError(f"pairs {empty[:10]} have an empty text; each needs at least one token")
        if empty := [i for i, pair in enumerate(pairs) if not any(pair.chosen.mask + pair.rejected.mask)]:
            raise ValueError(
                f"both completions of pairs {empty[:10]} are empty: end each with an end-of-text token"
            )
        self.pairs = pairs
        self.max_length = max_length
        self.seed = seed
        self.ref_logprobs = ref_logprobs

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.pairs)

    def batch(self, first: int, size: int) -> PreferenceBatch:
        """Return pairs ``first`` to ``first + size - 1`` of the endless order, as `Sequences` asks."""
        return self._collate(in_epochs(first, size, len(self), self.seed).tolist())

    def _collate(self, numbers: list[int]) -> PreferenceBatch:
        pairs = [self.pairs[i] for i in numbers]
        texts = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
        start = 0 if self.max_length is None else -self.max_length
        ids = [torch.tensor(text.ids[start:]) for text in texts]
        masks = [torch.tensor(text.mask[start:]) for text in texts]
        return PreferenceBatch(
            ids=pad_sequence(ids, batch_first=True),
            attention_mask=pad_sequence([torch.ones_like(mask) for mask in masks], batch_first=True),
            completion_mask=pad_sequence(masks, batch_first=True),
            margin=torch.tensor([pair.margin for pair in pairs], dtype=torch.float32),
            ref_logprobs=None if self.ref_logprobs is None else self.ref_logprobs[numbers].T.flatten(),
        )

    def with_reference(self, reference_model: nn.Module, *, batch_size: int = 16) -> "PreferenceDataset":
        """Return the same pairs with log-probabilities of a reference model, which is then no longer needed.

        Args:
            reference_model: Model whose log-probabilities are stored.
            batch_size: Pairs per forward pass.
        """
        ref_logprobs = torch.empty(len(self), 2)
        for start in range(0, len(self), batch_size):
            numbers = list(range(start, min(start + batch_size, len(self))))
            logprobs = reference_logprobs(reference_model, self._collate(numbers))
            ref_logprobs[numbers] = logprobs.view(2, -1).T.cpu()
        dataset = copy(self)
        dataset.ref_logprobs = ref_logprobs
        return dataset


class LengthGroupedPairs(PreferenceDataset):
    """Preference pairs in batches of similar length, which need little padding; batches come in random order.

    The pairs of a batch stay together in every epoch, and up to a batch of the longest pairs is left out.
    Evaluate on a `PreferenceDataset` instead, whose batches may differ in size.

    >>> from llmguide.post_training.sft import completion
    >>> lengths = [5, 1, 6, 2]
    >>> pairs = [PreferencePair(completion([], [9] * n), completion([], [8])) for n in lengths]
    >>> sorted(LengthGroupedPairs(pairs).batch(2 * i, 2).ids.shape[1] for i in range(2))
    [2, 6]
    """

    def batch(self, first: int, size: int) -> PreferenceBatch:
        """Return the batch that begins at a position of the endless order, a multiple of its size."""
        n = len(self) // size
        if not n:
            return super().batch(first, size)
        longest = [max(len(pair.chosen.ids), len(pair.rejected.ids)) for pair in self.pairs]
        by_length = sorted(range(len(self)), key=longest.__getitem__)
        [place] = in_epochs(first // size, 1, n, self.seed).tolist()
        return self._collate(by_length[place * size : (place + 1) * size])


def pair_logprobs(model: Any, batch: PreferenceBatch) -> tuple[Float[Tensor, " B2"], Int[Tensor, " B2"]]:
    """Compute the log-probability of every completion, with logits for completion tokens only.

    Args:
        model: A decoder of `llmguide.models`.
        batch: Chosen and rejected texts, which share the forward pass.

    Returns:
        Log-probabilities in float32 or wider, and the number of tokens of each completion; both are 0 for an
        empty completion.
    """
    targets = batch.targets
    logprobs = head_logprobs(model, model.hidden(batch.inputs), targets)
    return logprobs.sum(dim=-1), (targets != IGNORE_INDEX).sum(dim=-1)


@torch.no_grad()
def reference_logprobs(reference_model: nn.Module, batch: PreferenceBatch) -> Float[Tensor, " B2"]:
    """Compute log-probabilities of completions under the reference model, without gradient or dropout."""
    was_training = reference_model.training
    reference_model.eval()
    device = next(reference_model.parameters()).device
    logprobs, _ = pair_logprobs(reference_model, to_device(batch, device))
    reference_model.train(was_training)
    return logprobs
