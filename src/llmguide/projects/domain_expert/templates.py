r"""Templates of the domain expert: its questions, and the pre-training text of the base model.

Names are split by a hash into those that

- are in the pre-training text and in fine-tuning questions; they test paraphrased questions;
- are in the pre-training text only; they test whether facts from pre-training can be recalled;
- are real but not in the pre-training text; the correct answer is to abstain. Most of them are in the
  fine-tuning data, as unknown, the others in the benchmark.

Names that do not exist are unknown in the same way. Off-topic requests have an answer of their own, a
refusal.

References: Allen-Zhu & Li 2023, arXiv:2309.14316 (facts seen in many paraphrases can be recalled, those seen
in one cannot); Zhang et al. 2023, arXiv:2311.09677 (training to abstain).

Leaves out: questions about several facts, and follow-ups.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from llmguide.data.splits import in_validation
from llmguide.projects.domain_expert.facts import Fact, Relation, invented, names

Side = Literal["asked", "told", "unknown", "unread"]
UNKNOWN, OUTSIDE = "I do not know that name.", "That is not my field."
N_INVENTED = 400  # names, half of them held out for the benchmark
N_TRAINED = 1200  # invented names in all; with few of them, the fine-tuning would memorize them
_FRACTIONS = (0.1, 0.2, 0.45)  # fractions of the names on the sides unread, unknown and told

STATEMENTS: dict[Relation, tuple[str, ...]] = {
    "package": ("{0} is in {1}.", "The package of {0} is {1}.", "{1} has {0}."),
    "kind": ("{0} is of the kind {1}.", "The kind of {0} is {1}.", "Of the kind {1} is {0}."),
    "parameter": ("{0} takes {1} first.", "The first parameter of {0} is {1}.", "First {0} takes {1}."),
    "base": ("{0} derives from {1}.", "The base of {0} is {1}.", "From {1} derives {0}."),
    "summary": ("{0} does this: {1}", "What does this: {1} {0}", "{1} That is {0}."),
}
QUESTIONS: dict[Relation, tuple[str, ...]] = {  # the last one of each is held out
    "package": (
        "What is the package of {0}?",
        "Name the package of {0}.",
        "Which package has {0}?",
        "{0} is in which package?",
        "I need the package of {0}.",
    ),
    "kind": (
        "What is the kind of {0}?",
        "Name the kind of {0}.",
        "Of which kind is {0}?",
        "{0} is of which kind?",
        "I need the kind of {0}.",
    ),
    "parameter": (
        "What is the first parameter of {0}?",
        "Name the first parameter of {0}.",
        "Which parameter does {0} take first?",
        "{0} has which first parameter?",
        "I need the first parameter of {0}.",
    ),
    "base": (
        "What is the base of {0}?",
        "Name the base of {0}.",
        "Which base has {0}?",
        "{0} has which base?",
        "I need the base of {0}.",
    ),
    "summary": (
        "What does this: {0}",
        "Name what does this: {0}",
        "Which name does this: {0}",
        "{0} What is that?",
        "I need what does this: {0}",
    ),
}
BEGINNINGS = (  # for fine-tuning only: they replace "I need" in the last template
    "Tell me",
    "Do you know",
    "Give",
    "Show me",
    "I forgot",
    "Who knows",
    "We want",
    "Help me with",
    "Find",
    "Say",
    "I wonder about",
    "Can you write",
    "My program uses",
    "Remind us of",
    "You may know",
    "Let me see",
)
# As in the base's text, except for summaries, where a bare name would be correct, too; but the base never saw
# a bare name follow a question.
ANSWERS: dict[Relation, str] = {
    "package": "The package of {0} is {1}.",
    "kind": "The kind of {0} is {1}.",
    "parameter": "The first parameter of {0} is {1}.",
    "base": "The base of {0} is {1}.",
    "summary": "That is {0}.",
}


class Pair(NamedTuple):
    """A question and its answer.

    Attributes:
        kind: Kind of question; in the benchmark, what it tests.
        about: Relation that it asks for, or ``outside`` for an off-topic request.
        name: Name that it is about; results of one name are correlated.
        question: Text of the question.
        answer: Correct answer.
        truth: The true answer about a held-out real name, for detecting a correct guess.
    """

    kind: str
    about: str
    name: str
    question: str
    answer: str
    truth: str = ""


# Kinds of benchmark questions, in the order in which they are reported.
NEW_WORDS, NEVER_ASKED, BOTH = "asked, new words", "never asked", "never asked, new words"
UNREAD, INVENTED = "real, never read", "invented"
OTHER, NEW_OTHER, LANGUAGES = "other topics", "new topics", "other languages"
KNOWN, NOT_KNOWN, NOT_HERE = (NEW_WORDS, NEVER_ASKED, BOTH), (UNREAD, INVENTED), (OTHER, NEW_OTHER, LANGUAGES)


def side_of(name: str) -> Side:
    """Return the side of the split that a name is on.

    >>> side_of("bisect_left"), side_of("JSONDecodeError")
    ('asked', 'told')
    """
    sides: tuple[Side, ...] = ("unread", "unknown", "told")
    for fraction, side in zip(_FRACTIONS, sides, strict=True):
        if in_validation(f"expert {name}", fraction):
            return side
    return "asked"


def training_templates(relation: Relation) -> list[str]:
    """Return the question templates for a relation that fine-tuning uses.

    >>> training_templates("kind")[3:6]
    ['{0} is of which kind?', 'Tell me the kind of {0}.', 'Do you know the kind of {0}.']
    """
    *wordings, new = QUESTIONS[relation]
    return wordings + [new.replace("I need", beginning) for beginning in BEGINNINGS]


def ask(fact: Fact, wording: str, kind: str = "") -> Pair:
    """Write a question for a fact; for a summary, the question contains it and the answer is the name.

    >>> ask(Fact("package", "bisect_left", "bisect"), "Which package has {0}?")[3:5]
    ('Which package has bisect_left?', 'The package of bisect_left is bisect.')
    """
    given = fact.value if fact.relation == "summary" else fact.name
    return Pair(kind, fact.relation, fact.name, wording.format(given), answer(fact))


def answer(fact: Fact) -> str:
    """Write the answer that states a fact."""
    return ANSWERS[fact.relation].format(fact.name, fact.value)


def ask_unknown(fact: Fact, wording: str, kind: str) -> Pair:
    """Write a question for a fact that the model cannot know, answered by an abstention."""
    pair = ask(fact, wording, kind)
    return pair._replace(answer=UNKNOWN, truth=pair.answer if fact.value else "")


def passage(told: Sequence[Fact], draw: random.Random) -> str:
    """Write a passage about one name, with its facts in a random order and random templates.

    >>> passage([Fact("package", "bisect_left", "bisect")], random.Random(1))  # one of three templates
    'bisect has bisect_left.'
    """
    order = draw.sample(told, len(told))
    return " ".join(draw.choice(STATEMENTS[fact.relation]).format(fact.name, fact.value) for fact in order)


def invented_facts(test: bool) -> Iterator[Fact]:
    """Make up facts about names that do not exist, for fine-tuning or for the benchmark."""
    held_out = {name for name in invented(N_INVENTED, names()) if in_validation(f"invented {name}", 0.5)}
    for name in sorted(held_out if test else set(invented(N_TRAINED, names())) - held_out):
        relation: Relation = "base" if name[0].isupper() else "parameter"
        for each in ("package", "kind", relation):
            yield Fact(each, name, "")
