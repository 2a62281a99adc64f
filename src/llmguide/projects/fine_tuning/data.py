"""Examples of two tasks, and what can be answered without a model: the bars that fine-tuning has to pass.

*Classification*: a sentence of an address to the Congress, and whether it is from before 1900 or from after
1950. *Summarization*: a function of Python's standard library without its docstring, and the docstring's
first line. Sides are divided by speech and by file: sentences of one speech have a speaker in common, and
neighboring functions have like names.

Leaves out: near copies of functions in two files; exact ones are kept once.
"""

import ast
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from math import log
from textwrap import dedent
from typing import Literal, NamedTuple

from llmguide.data.corpora import default_corpus, in_validation, standard_library
from llmguide.post_training.datasets import conversations

Side = Literal["train", "validation", "test"]

OLD, NEW = 1900, 1950  # last and first year of the two ages
PER_SPEECH = 40  # sentences
TEST = 0.2  # share of the speeches and of the files
VALIDATION = 0.1  # of the others, for early stopping
LONGEST = 1500  # characters of a function


class Example(NamedTuple):
    """What a model reads and what it has to answer.

    Attributes:
        group: Speech or file that it comes from; a group is on one side of the split.
        source: Input text.
        target: Target text.
    """

    group: str
    source: str
    target: str


def sentences() -> list[Example]:
    """Take sentences of presidents' speeches, each with its age: ``old`` to 1900, ``new`` from 1950 on."""
    found = []
    for document in default_corpus():
        year = int(document.id[:4])
        if year <= OLD or year >= NEW:
            said = re.split(r"(?<=[.?!])\s+", " ".join(document.text.split()))
            fit = [sentence for sentence in said if 8 <= len(sentence.split()) <= 30]
            chosen = random.Random(document.id).sample(fit, min(PER_SPEECH, len(fit)))
            age = "old" if year <= OLD else "new"
            found += [Example(document.id, sentence, age) for sentence in chosen]
    return found


@cache  # takes seconds
def functions() -> tuple[Example, ...]:
    """Read documented functions of the standard library, each with the first line of its docstring.

    Which they are depends on the version of Python.
    """
    found: dict[str, Example] = {}
    for document in standard_library():
        if document.id.endswith(".py"):
            for source, summary in documented(document.text):
                if len(source) <= LONGEST:
                    found.setdefault(source, Example(document.id, source, summary))
    return tuple(found.values())


def documented(text: str) -> Iterator[tuple[str, str]]:
    r"""Take the functions of a module that have docstrings, and cut those out.

    >>> list(documented('def double(x):\n    "Return twice x.\\n\\nOr so."\n    return 2 * x\n'))
    [('def double(x):\n    return 2 * x', 'Return twice x.')]
    """
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (doc := ast.get_docstring(node)):
            said, first = node.body[0], doc.strip().split("\n")[0].strip()
            # a docstring in the line of the def would take code with it
            if first and node.lineno < said.lineno and len(node.body) > 1:
                kept = [*lines[node.lineno - 1 : said.lineno - 1], *lines[said.end_lineno : node.end_lineno]]
                yield dedent("\n".join(kept)), first


def rows(path: str) -> list[Example]:
    """Read examples from JSON lines with ``prompt`` and ``completion``, each a group of its own."""
    talks = conversations(path)
    return [Example(talk[0]["content"], talk[0]["content"], talk[-1]["content"]) for talk in talks]


def part(examples: Sequence[Example], side: Side, n: int) -> list[Example]:
    """Take up to n examples of one side, in an order that does not follow their names.

    >>> examples = [Example(str(i), "", "") for i in range(100)]
    >>> sum(len(part(examples, side, 100)) for side in ("train", "validation", "test"))
    100
    """
    found = [example for example in examples if side_of(example.group) == side]
    random.Random(0).shuffle(found)
    return found[:n]


def side_of(group: str) -> Side:
    """Decide by hashes on which side a group is."""
    if in_validation(group, TEST):
        return "test"
    return "validation" if in_validation(f"early stopping: {group}", VALIDATION) else "train"


def by_words(examples: Sequence[Example]) -> Callable[[str], str]:
    r"""Learn to classify by counting words: naive Bayes, $\arg\max_y \log p(y) + \sum_w \log p(w \mid y)$.

    Every word is counted once more than it occurs, and words that were never seen do not count.

    >>> judge = by_words([Example("", "a good film", "fresh"), Example("", "a bad film", "rotten")])
    >>> judge("good"), judge("bad, bad film")
    ('fresh', 'rotten')
    """
    counts: dict[str, Counter[str]] = {example.target: Counter() for example in examples}
    for example in examples:
        counts[example.target].update(words(example.source))
    prior = Counter(example.target for example in examples)
    known = {word for count in counts.values() for word in count}
    totals = {label: count.total() + len(known) for label, count in counts.items()}

    def classify(source: str) -> str:
        seen = [word for word in words(source) if word in known]
        return max(
            counts,
            key=lambda y: log(prior[y]) + sum(log((counts[y][word] + 1) / totals[y]) for word in seen),
        )

    return classify


def by_name(source: str) -> str:
    r"""Summarize a function without looking into it: a template around the words of its name.

    >>> by_name("def _read_next_line(self):\n    pass")
    'Return the read next line.'
    """
    name = re.search(r"def\s+(\w+)", source)
    return f"Return the {' '.join(words((name[1] if name else source).replace('_', ' ')))}."


def first_line(source: str) -> str:
    r"""Summarize a text by its beginning, as the bar of the first sentence does for news.

    >>> first_line("def double(x):\n    return 2 * x")
    'def double(x):'
    """
    return source.strip().split("\n")[0]


def words(text: str) -> list[str]:
    """Split into words, in lower case.

    >>> words("It's GOOD, really.")
    ["it's", 'good', 'really']
    """
    return re.findall(r"[\w']+", text.lower())
