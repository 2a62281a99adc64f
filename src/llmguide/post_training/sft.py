r"""Supervised fine-tuning: the loss of pre-training, on the tokens that the assistant has to write.

$$L = -\frac{1}{\sum_t m_t} \sum_t m_t \log p(y_t \mid y_{<t})$$

with mask $m_t = 1$ on the answers and the tokens that end them (`llmguide.post_training.chat`). Prompts are
read and not learnt, so `completion_loss` never takes them through the output head, the largest matrix of a
small model.

Examples are of many lengths. A batch pads them on the right, where a causal model does not look; or
`Conversations` packs several into each row, and their ``document_ids`` keep them from seeing each
other, so that the loss is that of the same examples one by one.

References: Ouyang et al. 2022, arXiv:2203.02155 (SFT as the first of three stages); best-fit packing (Ding et
al. 2024, arXiv:2404.10830).

Leaves out: noise on the embeddings (NEFTune), weights for single examples, learning the prompts a little.

Glossary: ``B`` rows, ``T`` tokens of a row, ``V`` vocabulary.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmguide.data.tokens.packing import PADDING, best_fit, in_epochs
from llmguide.data.tokens.windows import IGNORE_INDEX, Batch
from llmguide.post_training.chat import Message, Rendered, Template, chatml, render_chat
from llmguide.training.config import TrainConfig
from llmguide.training.losses import head_weight, linear_cross_entropy
from llmguide.training.monitor import Logger
from llmguide.training.train import TrainResult, train


def sft_loss(logits: Float[Tensor, "B T V"], labels: Int[Tensor, "B T"]) -> Float[Tensor, ""]:
    """Mean cross entropy over the labels that count: the formula, on all logits.

    Args:
        logits: Of a model.
        labels: What should follow each position, as in `Batch.targets`; -100 where there is no loss.

    Returns:
        The mean in nats, in float32 or wider.

    Raises:
        ValueError: If no label counts.

    >>> logits = torch.tensor([[[0.0, 0.0], [1.0986123, 0.0]]])
    >>> sft_loss(logits, torch.tensor([[-100, 0]])).item()  # 3 to 1: -log 0.75
    0.2877
    """
    if not (labels != IGNORE_INDEX).any():
        raise ValueError(f"all {labels.numel()} labels are {IGNORE_INDEX}, so there is nothing to learn from")
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(wide.flatten(0, 1), labels.flatten(), ignore_index=IGNORE_INDEX)


def completion_loss(model: Any, batch: Batch) -> tuple[Float[Tensor, ""], int]:
    """Compute `sft_loss` as a loss for `train`, with the output head applied to the counted targets only.

    Args:
        model: A decoder of `llmguide.models`.
        batch: Of `Conversations`, or any other.

    Returns:
        The mean, and the number of targets that it is over; 0 and a loss of 0 if there is none.
    """
    packing = {} if batch.document_ids is None else {"document_ids": batch.document_ids}
    hidden = model.hidden(batch.inputs, **packing)
    kept = batch.targets != IGNORE_INDEX
    targets = batch.targets[kept]
    if not len(targets):
        return hidden.sum() * 0.0, 0
    return linear_cross_entropy(hidden[kept], head_weight(model), targets), len(targets)


class Conversations:
    """Rendered conversations in an order drawn anew each epoch; within an epoch each comes once.

    Args:
        examples: Of `llmguide.post_training.chat.render_chat` or `completion`.
        pack_to: Positions of a row into which several are packed; None: a row is one example, and a batch as
            wide as its longest.
        seed: Of the order. What shares a row stays the same.

    Raises:
        ValueError: There is no example, one teaches nothing, or one is longer than a row.

    >>> examples = [completion([1, 2], [3, 4]), completion([5], [6])]
    >>> packed = Conversations(examples, pack_to=5)
    >>> packed.batch(0, 1)
    Batch(inputs=tensor([[1, 2, 3, 5, 0]]),
          targets=tensor([[-100, 3, 4, 6, -100]]),
          document_ids=tensor([[ 0,  0,  0,  1, -1]]))
    """

    def __init__(self, examples: Sequence[Rendered], *, pack_to: int | None = None, seed: int = 0):
        self.examples = [shifted(example) for example in examples]
        self.pack_to = pack_to
        self.seed = seed
        if silent := [i for i, (_, targets) in enumerate(self.examples) if (targets == IGNORE_INDEX).all()]:
            raise ValueError(
                f"examples {silent[:10]} are masked from end to end and would teach nothing; leave them out"
            )
        if not self.examples:
            raise ValueError("there is no example to learn from")
        self.rows = [[i] for i in range(len(self.examples))]
        if pack_to is not None:
            sizes = np.array([example.shape[1] for example in self.examples])
            row_of = best_fit(sizes, pack_to)
            self.rows = [np.flatnonzero(row_of == row).tolist() for row in range(row_of.max() + 1)]

    def __len__(self) -> int:
        """Rows of one epoch."""
        return len(self.rows)

    def batch(self, first: int, size: int) -> Batch:
        """Return rows ``first`` to ``first + size - 1`` of the endless order, as `Sequences` asks."""
        picked = [self.rows[row] for row in in_epochs(first, size, len(self), self.seed).tolist()]
        return padded([[self.examples[i] for i in row] for row in picked], width=self.pack_to)


def completion(prompt: Sequence[int], answer: Sequence[int]) -> Rendered:
    """Make an example of a prompt that is read and an answer, with its end-of-text token, that is learnt."""
    return Rendered([*prompt, *answer], [False] * len(prompt) + [True] * len(answer))


def shifted(example: Rendered) -> Int[Tensor, "2 T"]:
    """Return the inputs of an example, and below each the target: the next token, or -100.

    >>> shifted(completion([1, 2], [3, 4])).tolist()
    [[1, 2, 3], [-100, 3, 4]]
    """
    following = zip(example.ids[1:], example.mask[1:], strict=True)
    targets = [token if is_learnt else IGNORE_INDEX for token, is_learnt in following]
    return torch.tensor([example.ids[:-1], targets], dtype=torch.long)


def padded(rows: Sequence[Sequence[Int[Tensor, "2 _T"]]], *, width: int | None = None) -> Batch:
    """Put examples of `shifted` into rows, one after another, and fill them up on the right.

    Args:
        rows: The examples of each row.
        width: Positions of a row, numbered by example; None: those of the longest, which takes no numbers
            since each row has one.

    Returns:
        The batch; padding has id 0, no target, and the document -1.
    """
    examples = [example for row in rows for example in row]
    lengths = torch.tensor([sum(example.shape[1] for example in row) for row in rows])
    places = torch.arange(int(lengths.max()) if width is None else width)
    is_filled = places < lengths[:, None]  # (B, T)
    inputs, targets = torch.full(is_filled.shape, 0), torch.full(is_filled.shape, IGNORE_INDEX)
    inputs[is_filled], targets[is_filled] = torch.cat(examples, dim=1)
    if width is None:
        return Batch(inputs, targets)
    numbers = torch.tensor([number for row in rows for number in range(len(row))])
    document_ids = torch.full(is_filled.shape, PADDING)
    n_tokens = torch.tensor([example.shape[1] for example in examples])
    document_ids[is_filled] = numbers.repeat_interleave(n_tokens)
    return Batch(inputs, targets, document_ids)


def finetune(
    model: nn.Module,
    conversations: Sequence[Sequence[Message]],
    tokenizer: Any,
    config: TrainConfig,
    *,
    template: Template = chatml,
    packed: bool = False,
    validation: Sequence[Sequence[Message]] | None = None,
    folder: str | Path | None = None,
    logger: Logger | None = None,
    sample: Callable[[nn.Module], str] | None = None,
) -> TrainResult:
    """Fine-tune a model, in place, to answer as the assistant of some conversations does.

    Args:
        model: A decoder of `llmguide.models`.
        conversations: Messages of each. Those beyond `config.context_length` lose their oldest turns.
        tokenizer: As in `llmguide.post_training.chat.render_chat`.
        config: How.
        template: Of the turns.
        packed: Whether rows hold as many conversations as fit into `config.context_length`.
        validation: Held-out conversations.
        folder: As in `train`, and the next two.
        logger: Gets the numbers.
        sample: Writes something to be read.

    Returns:
        The history of the run.
    """

    def rendered(talks: Sequence[Sequence[Message]]) -> Conversations:
        examples = [
            render_chat(
                messages,
                tokenizer,
                template=template,
                max_length=config.window_length() + 1,  # the last token is a target and no input
                truncation="left",
            )
            for messages in talks
        ]
        pack_to = config.window_length() if packed else None
        return Conversations(examples, pack_to=pack_to, seed=config.seed)

    return train(
        model,
        rendered(conversations),
        config,
        validation=None if validation is None else rendered(validation),
        folder=folder,
        loss=completion_loss,
        logger=logger,
        sample=sample,
    )
