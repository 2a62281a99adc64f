"""The types of instructions: their sizes, templates, statements and decoys."""

from typing import NamedTuple


class Type(NamedTuple):
    """Templates and size of a type of instruction.

    Attributes:
        field: Field that the type belongs to.
        templates: Instruction templates; the last one is held out.
        statement: Template of the sentence that states an item; empty: there is none.
        size: Most items to train on.
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
