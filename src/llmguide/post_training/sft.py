r"""Supervised fine-tuning (SFT): next-token prediction on the tokens that the assistant has to generate.

$$L = -\frac{1}{\sum_t m_t} \sum_t m_t \log p(y_t \mid y_{<t})$$

with mask $m_t = 1$ on the assistant's completions and the tokens that end them
(`llmguide.post_training.chat`). Prompt tokens have no loss, so `llmguide.training.losses.batch_loss` drops
them before the output head, the largest matrix of a small model.

Examples have many lengths. A batch pads them on the right, which a causal model does not attend to; or
`SFTDataset` packs several into each row, and their ``document_ids`` keep them from attending
to each other, so that the loss equals that of the same examples one by one.

References: Ouyang et al. 2022, arXiv:2203.02155 (SFT as the first of three stages); best-fit packing (Ding et
al. 2024, arXiv:2404.10830).

Leaves out: noise on the embeddings (NEFTune), example weights, a small loss on prompt tokens.

Glossary: ``B`` rows, ``T`` tokens of a row, ``V`` vocabulary size.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmguide.arguments import checked
from llmguide.data.tokens._fast_packing import fast_best_fit
from llmguide.data.tokens.packing import PADDING, in_epochs
from llmguide.data.tokens.windows import IGNORE_INDEX, Batch
from llmguide.post_training.chat import Message, Template, TokenizedChat, chatml, render_chat
from llmguide.training.config import TrainConfig
from llmguide.training.losses import cross_entropy
from llmguide.training.monitor import Logger
from llmguide.training.torch_data import ItemDataset, all_items
from llmguide.training.train import TrainResult, train


@checked
def sft_loss(logits: Float[Tensor, "B T V"], labels: Int[Tensor, "B T"]) -> Float[Tensor, ""]:
    """Compute the cross-entropy of next-token prediction, averaged over the assistant's tokens.

    `llmguide.training.losses.batch_loss` computes the same number from a model and a batch without holding
    all logits.

    Args:
        logits: Logits of a model.
        labels: Token id that follows each position, as in `Batch.targets`, or -100 where there is no loss.

    Returns:
        The mean in nats, in float32 or wider.

    Raises:
        ValueError: Every label is -100.

    >>> from llmguide import sft_loss
    >>> logits = torch.tensor([[[0.0, 0.0], [1.0986123, 0.0]]])
    >>> sft_loss(logits, torch.tensor([[-100, 0]])).item()  # 3 to 1: -log 0.75
    0.2877
    """
    return cross_entropy(logits, labels)


class SFTDataset:
    """Tokenized conversations in an order that is reshuffled every epoch.

    Args:
        examples: Token ids and loss masks, from `llmguide.post_training.chat.render_chat` or `completion`, in
            a list or a map-style dataset, which is read once.
        pack_to: Tokens per row into which several examples are packed; None: one example per row, padded to
            the longest of the batch.
        seed: Seed of the per-epoch shuffle. Which examples share a row stays the same.

    Raises:
        TypeError: The examples are not a map-style dataset.
        ValueError: There is no example, one has no unmasked token, or one is longer than a row.

    >>> examples = [completion([1, 2], [3, 4]), completion([5], [6])]
    >>> packed = SFTDataset(examples, pack_to=5)
    >>> packed.batch(0, 1)
    Batch(inputs=tensor([[1, 2, 3, 5, 0]]),
          targets=tensor([[-100, 3, 4, 6, -100]]),
          document_ids=tensor([[ 0,  0,  0,  1, -1]]))
    """

    unit = "response_tokens"  # of the speed in logs: others have no loss

    def __init__(self, examples: ItemDataset[TokenizedChat], *, pack_to: int | None = None, seed: int = 0):
        fix = "give a list or a map-style Dataset of results of render_chat"
        self.examples = [shifted(example) for example in all_items("examples", examples, fix)]
        self.pack_to = pack_to
        self.seed = seed
        if masked := [i for i, (_, targets) in enumerate(self.examples) if (targets == IGNORE_INDEX).all()]:
            raise ValueError(
                f"examples {masked[:10]} are fully masked and have no token to learn; leave them out"
            )
        if not self.examples:
            raise ValueError("there is no example to learn from")
        self.rows = [[i] for i in range(len(self.examples))]
        if pack_to is not None:
            sizes = np.array([example.shape[1] for example in self.examples])
            row_of = fast_best_fit(sizes, pack_to)
            order, ends = np.argsort(row_of, kind="stable"), np.cumsum(np.bincount(row_of))
            self.rows = [row.tolist() for row in np.split(order, ends[:-1])]

    def __len__(self) -> int:
        """Return the number of rows of one epoch."""
        return len(self.rows)

    def batch(self, first: int, size: int) -> Batch:
        """Return rows ``first`` to ``first + size - 1`` of the endless order, as `Sequences` asks."""
        picked = [self.rows[row] for row in in_epochs(first, size, len(self), self.seed).tolist()]
        return padded([[self.examples[i] for i in row] for row in picked], width=self.pack_to)


def completion(prompt: Sequence[int], completion: Sequence[int]) -> TokenizedChat:
    """Make a prompt-completion example: no loss on the prompt, loss on the completion with its end token."""
    return TokenizedChat([*prompt, *completion], [False] * len(prompt) + [True] * len(completion))


def shifted(example: TokenizedChat) -> Int[Tensor, "2 T"]:
    """Return the inputs of an example above its targets: the next token of each, or -100.

    >>> shifted(completion([1, 2], [3, 4])).tolist()
    [[1, 2, 3], [-100, 3, 4]]
    """
    following = zip(example.ids[1:], example.mask[1:], strict=True)
    targets = [token if has_loss else IGNORE_INDEX for token, has_loss in following]
    return torch.tensor([example.ids[:-1], targets], dtype=torch.long)


def padded(rows: Sequence[Sequence[Int[Tensor, "2 _T"]]], *, width: int | None = None) -> Batch:
    """Concatenate the examples of each row and pad the rows on the right.

    Args:
        rows: Results of `shifted` for the examples of each row.
        width: Tokens per row, with document ids; None: the longest row, without document ids, because each
            row holds one example.

    Returns:
        The batch; padding has token id 0, target -100 and document id -1.
    """
    examples = [example for row in rows for example in row]
    lengths = torch.tensor([sum(example.shape[1] for example in row) for row in rows])
    positions = torch.arange(int(lengths.max()) if width is None else width)
    is_filled = positions < lengths[:, None]  # (B, T)
    inputs, targets = torch.full(is_filled.shape, 0), torch.full(is_filled.shape, IGNORE_INDEX)
    inputs[is_filled], targets[is_filled] = torch.cat(examples, dim=1)
    if width is None:
        return Batch(inputs, targets)
    numbers = torch.tensor([number for row in rows for number in range(len(row))])
    document_ids = torch.full(is_filled.shape, PADDING)
    document_ids[is_filled] = numbers.repeat_interleave(
        torch.tensor([example.shape[1] for example in examples])
    )
    return Batch(inputs, targets, document_ids)


def finetune(
    model: nn.Module,
    conversations: ItemDataset[Sequence[Message]],
    tokenizer: Any,
    config: TrainConfig,
    *,
    template: Template = chatml,
    packed: bool = False,
    validation: ItemDataset[Sequence[Message]] | None = None,
    folder: str | Path | None = None,
    logger: Logger | None = None,
    sample: Callable[[nn.Module], str] | None = None,
) -> TrainResult:
    """Fine-tune a model in place on the assistant's turns of conversations.

    Args:
        model: A decoder of `llmguide.models`.
        conversations: Messages of each conversation, in a list or a map-style `torch.utils.data.Dataset`,
            which is read once. Those longer than `config.context_length` lose their oldest turns. Pass
            tokenized data and a `DataLoader` to `llmguide.train`.
        tokenizer: Tokenizer of the model, as in `llmguide.post_training.chat.render_chat`.
        config: Training hyperparameters.
        template: Chat template.
        packed: Whether to pack several conversations into rows of `config.context_length` tokens.
        validation: Held-out conversations, evaluated during training; None: no evaluation.
        folder: Folder of the checkpoints; None: nothing is saved.
        logger: Logger of the metrics.
        sample: Function that returns a sample of the model's text, which is logged.

    Returns:
        Metrics of the whole run.

    Raises:
        TypeError: The data are not a map-style dataset, or a conversation is not a list of messages.
        ValueError: A conversation has no token to learn.
    """
    fix = (
        "give a list or a map-style Dataset of conversations, which finetune tokenizes and batches; "
        "llmguide.train takes a DataLoader of token ids and labels"
    )

    def rendered(name: str, talks: ItemDataset[Sequence[Message]]) -> SFTDataset:
        examples = [
            render_chat(
                messages,
                tokenizer,
                template=template,
                max_length=config.window_length() + 1,  # the last token is a target but not an input
                truncation="left",
            )
            for messages in all_items(name, talks, fix)
        ]
        pack_to = config.window_length() if packed else None
        return SFTDataset(examples, pack_to=pack_to, seed=config.seed)

    return train(
        model,
        rendered("conversations", conversations),
        config,
        validation=None if validation is None else rendered("validation", validation),
        folder=folder,
        logger=logger,
        sample=sample,
    )
