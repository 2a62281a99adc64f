r"""Faithfulness: is each sentence of an answer supported by the passages that it cites?

The check is cheap, strict and needs no LLM judge. A word of a sentence is covered if it is in a run of three
or more words that also occurs in the passage. A sentence is supported if one of the passages that it cites
covers at least 70% of its words. So a faithful paraphrase can fail, and a quotation that does not answer the
question passes; correctness is measured separately.

Reference: the extractive fragments of Grusky et al. 2018, arXiv:1804.11283, with runs of one and
two words, which any two English texts share, left out.

Leaves out: entailment, which needs a model.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from llmguide.data.cleaning.dedup import plain_words
from llmguide.projects.retrieval_chatbot.answer import sentences
from llmguide.projects.retrieval_chatbot.chunks import Chunk

RUN = 3  # words
SUPPORTED = 0.7
_CITED = re.compile(r"\[(\d+(?:, ?\d+)*)\]")


class Claim(NamedTuple):
    """A sentence of an answer.

    Attributes:
        text: Text of the sentence without its citations.
        cited: Numbers of the cited passages, from 1; numbers of passages that do not exist are left out.
        covered: Largest fraction of its words that one cited passage covers.
    """

    text: str
    cited: list[int]
    covered: float

    @property
    def supported(self) -> bool:
        """Whether a cited passage supports the sentence."""
        return self.covered >= SUPPORTED


def claims(answer: str, passages: Sequence[Chunk]) -> list[Claim]:
    """Compare each sentence of an answer with the passages that it cites.

    >>> passage = Chunk("d", "", 0, 32, "An empty list counts as false.")
    >>> [claim.supported for claim in claims("An empty list counts as false [1]. So does zero.", [passage])]
    [True, False]
    """
    found = []
    # a citation belongs to the sentence before it, wherever the full stop is, and ends one that has none
    text = re.sub(r"([.!?][\"”\u2019]?)((?:\s*\[[\d, ]+\])+)", r"\2\1", answer)
    text = re.sub(r"(\[[\d, ]+\])(?=\s+[\"“A-Z])", r"\1.", text)
    for start, stop in sentences(text):
        sentence = text[start:stop]
        numbers = [int(n) for match in _CITED.finditer(sentence) for n in match[1].split(",")]
        cited = sorted({n for n in numbers if 1 <= n <= len(passages)})
        said = " ".join(_CITED.sub("", sentence).split()).replace(" .", ".")
        if words := plain_words(said):
            sources = [plain_words(passages[n - 1].titled) for n in cited]
            found.append(Claim(said, cited, max((covered(words, source) for source in sources), default=0.0)))
    return found


def covered(words: Sequence[str], source: Sequence[str]) -> float:
    """Compute the fraction of words that are in runs of at least `RUN` shared with the source.

    A text shorter than `RUN` must occur whole.

    >>> covered("the quick red fox ran".split(), "a quick red fox slept".split())  # three of five
    0.6
    """
    n = min(RUN, len(words))
    known = {tuple(source[i : i + n]) for i in range(len(source) - n + 1)}
    hit = [False] * len(words)
    for i in range(len(words) - n + 1):
        if tuple(words[i : i + n]) in known:
            hit[i : i + n] = [True] * n
    return sum(hit) / len(words)
