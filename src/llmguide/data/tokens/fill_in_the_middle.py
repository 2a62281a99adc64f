r"""Fill in the middle: teach a left-to-right model to infill, by moving a middle span to the end.

A document is split at two random characters into prefix, middle and suffix. With $\circ$ for concatenation
and each part tokenized separately:

| order | ids |
| --- | --- |
| PSM | PRE $\circ$ prefix $\circ$ SUF $\circ$ suffix $\circ$ MID $\circ$ middle |
| SPM | PRE $\circ$ SUF $\circ$ suffix $\circ$ MID $\circ$ prefix $\circ$ middle |

followed by the end-of-text token, which marks the end of the middle. Training on both, half each, transfers
between them: SPM is PSM with an empty prefix, whose middle starts with the real prefix. The split is between
characters, not tokens, because a user's cursor can be inside a token.

It is applied to whole documents before packing. A document that packing cuts afterwards loses its sentinels
or its middle; `llmguide.data.tokens.packing.PackingReport` counts those.

References: Bavarian et al. 2022, arXiv:2207.14255, sections 3 and 4.4 and appendix D (the second SPM
variant).

Leaves out: the transformation at the level of context windows, and cuts between lines or tokens.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from llmguide.data.documents import Document
from llmguide.data.tokens.encode import encode_ordinary, special_tokens

# names as in cl100k_base; give them to Tokenizer.train as special tokens
PREFIX, SUFFIX, MIDDLE = SENTINELS = "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"


class Parts(NamedTuple):
    """Prefix, middle and suffix of a text, each possibly empty; a model generates the middle."""

    prefix: str
    middle: str
    suffix: str


@dataclass(frozen=True)
class FillInTheMiddle:
    """Tokenizes documents, some of them with the middle at the end; pass it to `write_shards` as `encode`.

    The transformation of a document depends only on its id and the seed.

    Attributes:
        tokenizer: Tokenizer of any kind that has the three `SENTINELS`.
        rate: Fraction of the documents to transform, 0 to 1; 0.5 has no measurable cost in left-to-right
            quality, and more has little.
        spm_rate: Fraction of the transformed documents that get the SPM order, 0 to 1.
        seed: Seed of the random transformations.

    Raises:
        ValueError: A sentinel is not a special token, or a rate is not between 0 and 1.

    >>> from llmguide.tokenization.tokenizer import Tokenizer
    >>> tokenizer = Tokenizer.train("", 259, special_tokens=SENTINELS)
    >>> fim = FillInTheMiddle(tokenizer, rate=1.0, spm_rate=0.0)
    >>> ids = fim(Document("abcdef", "some id", ""))
    >>> sorted(ids)
    [97, 98, 99, 100, 101, 102, 256, 257, 258]
    >>> "".join(fim.restore(ids))
    'abcdef'
    """

    tokenizer: Any = field(repr=False)
    rate: float = 0.5
    spm_rate: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        """Reject rates out of range and missing sentinels."""
        if not (0 <= self.rate <= 1 and 0 <= self.spm_rate <= 1):
            raise ValueError(f"rate={self.rate} and spm_rate={self.spm_rate} must be between 0 and 1")
        if missing := [name for name in SENTINELS if name not in special_tokens(self.tokenizer)]:
            raise ValueError(f"the tokenizer lacks {missing}; train it with special_tokens={SENTINELS}")

    def __call__(self, document: Document, /) -> list[int]:
        """Return the token ids of a document, transformed or not."""
        draw = random.Random(f"{self.seed} {document.id}")  # equal in all processes
        if not document.text or draw.random() >= self.rate:
            return encode_ordinary(self.tokenizer, document.text)
        spm = draw.random() < self.spm_rate
        return self.encode(cut(document.text, draw), spm=spm)

    def encode(self, parts: Parts, *, spm: bool = False) -> list[int]:
        """Return the token ids of a text in three parts; with an empty middle, they are a prompt for it."""
        before, middle, after = (encode_ordinary(self.tokenizer, part) for part in parts)
        pre, suf, mid = (special_tokens(self.tokenizer)[name] for name in SENTINELS)
        if spm:
            return [pre, suf, *after, mid, *before, *middle]
        return [pre, *before, suf, *after, mid, *middle]

    def restore(self, ids: Sequence[int]) -> Parts:
        """Invert the transformation; from SPM order, prefix and middle are returned together as the middle.

        Raises:
            ValueError: The sentinels are not those of a transformed document.
        """
        pre, suf, mid = (special_tokens(self.tokenizer)[name] for name in SENTINELS)
        ids = list(ids)
        if [i for i in ids if i in (pre, suf, mid)] != [pre, suf, mid] or ids[0] != pre:
            raise ValueError(f"ids must contain {SENTINELS} once each in this order, the first at the start")
        at_suf, at_mid = ids.index(suf), ids.index(mid)
        prefix, suffix, middle = ids[1:at_suf], ids[at_suf + 1 : at_mid], ids[at_mid + 1 :]
        return Parts(*map(self.tokenizer.decode, (prefix, middle, suffix)))


def cut(text: str, draw: random.Random) -> Parts:
    """Split a text at two positions, sampled uniformly from those before, between and after its characters.

    >>> "".join(cut("a text", random.Random(0)))
    'a text'
    """
    first, second = sorted((draw.randint(0, len(text)), draw.randint(0, len(text))))
    return Parts(text[:first], text[first:second], text[second:])
