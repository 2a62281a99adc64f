"""Examples of two tasks, and baselines without a neural network.

*Classification*: a sentence of an address to Congress, and whether it is from before 1900 or from after 1950.
*Summarization*: a function of Python's standard library without its docstring, and the docstring's first
line. The split is by speech and by file, because sentences of one speech share a speaker, and functions of
one file have similar names.

Leaves out: near-duplicate functions in two files; exact duplicates are dropped.
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

from llmguide.data.corpora import default_corpus, standard_library
from llmguide.data.splits import in_validation
from llmguide.post_training.datasets import conversations

Side = Literal["train", "validation", "test"]

OLD, NEW = 1900, 1950  # last year of the old class, first year of the new one
PER_SPEECH = 40  # sentences
TEST = 0.2  # fraction of the speeches and of the files
VALIDATION = 0.1  # fraction of the others, for early stopping
LONGEST = 1500  # characters of a function


class Example(NamedTuple):
    """An input text and its target.

    Attributes:
        group: Speech or file that it comes from; a whole group is on one side of the split.
        source: Input text.
        target: Target text.
    """

    group: str
    source: str
    target: str


def sentences() -> list[Example]:
    """Yield sentences of presidents' speeches, each with its age: ``old`` to 1900, ``new`` from 1950 on."""
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
    """Return the documented functions of the standard library, each with the first line of its docstring.

    The functions depend on the version of Python.
    """
    found: dict[str, Example] = {}
    for document in standard_library():
        if document.id.endswith(".py"):
            for source, summary in documented(document.text):
                if len(source) <= LONGEST:
                    found.setdefault(source, Example(document.id, source, summary))
    return tuple(found.values())


def documented(text: str) -> Iterator[tuple[str, str]]:
    r"""Yield the functions of a module that have docstrings, with the docstrings removed.

    >>> list(documented('def double(x):\n    "Return twice x.\\n\\nOr so."\n    return 2 * x\n'))
    [('def double(x):\n    return 2 * x', 'Return twice x.')]
    """
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (doc := ast.get_docstring(node)):
            said, first = node.body[0], doc.strip().split("\n")[0].strip()
            # removing a docstring on the line of the def would remove code, too
            if first and node.lineno < said.lineno and len(node.body) > 1:
                kept = [*lines[node.lineno - 1 : said.lineno - 1], *lines[said.end_lineno : node.end_lineno]]
                yield dedent("\n".join(kept)), first


def rows(path: str) -> list[Example]:
    """Read examples from JSON lines with ``prompt`` and ``completion``; each is a group of its own."""
    talks = conversations(path)
    return [Example(talk[0]["content"], talk[0]["content"], talk[-1]["content"]) for talk in talks]


def part(examples: Sequence[Example], side: Side, n: int) -> list[Example]:
    """Return up to n examples of one side, in the order of a hash of their text.

    >>> examples = [Example(str(i), "", "") for i in range(100)]
    >>> sum(len(part(examples, side, 100)) for side in ("train", "validation", "test"))
    100
    """
    found = [example for example in examples if side_of(example.group) == side]
    random.Random(0).shuffle(found)
    return found[:n]


def side_of(group: str) -> Side:
    """Return the side of the split that a group is on, by hashes of its name."""
    if in_validation(group, TEST):
        return "test"
    return "validation" if in_validation(f"early stopping: {group}", VALIDATION) else "train"


def naive_bayes(examples: Sequence[Example]) -> Callable[[str], str]:
    r"""Train a naive Bayes classifier of word counts, $\arg\max_y \log p(y) + \sum_w \log p(w \mid y)$.

    Counts have add-one smoothing, and words that are not in the training data are ignored.

    >>> judge = naive_bayes([Example("", "a good film", "fresh"), Example("", "a bad film", "rotten")])
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


def from_name(source: str) -> str:
    r"""Summarize a function by the words of its name, in a template.

    >>> from_name("def _read_next_line(self):\n    pass")
    'Return the read next line.'
    """
    name = re.search(r"def\s+(\w+)", source)
    return f"Return the {' '.join(words((name[1] if name else source).replace('_', ' ')))}."


def first_line(source: str) -> str:
    r"""Summarize a text by its first line, as the lead baseline does for news.

    >>> first_line("def double(x):\n    return 2 * x")
    'def double(x):'
    """
    return source.strip().split("\n")[0]


def words(text: str) -> list[str]:
    """Split a text into lower-case words.

    >>> words("It's GOOD, really.")
    ["it's", 'good', 'really']
    """
    return re.findall(r"[\w']+", text.lower())
