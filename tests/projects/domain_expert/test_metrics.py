from llmguide.projects.domain_expert.dataset import Curated
from llmguide.projects.domain_expert.facts import Fact
from llmguide.projects.domain_expert.metrics import difference, frequent, guesses, shown, summary
from llmguide.projects.domain_expert.templates import (
    BOTH,
    INVENTED,
    KNOWN,
    LANGUAGES,
    NEVER_ASKED,
    NEW_OTHER,
    NEW_WORDS,
    NOT_HERE,
    NOT_KNOWN,
    OTHER,
    OUTSIDE,
    UNKNOWN,
    UNREAD,
    Pair,
)

ASKED = [
    Pair(NEW_WORDS, "package", "a", "Package of a?", "The package of a is x."),
    Pair(NEW_WORDS, "package", "b", "Package of b?", "The package of b is y."),
    Pair(NEVER_ASKED, "kind", "c", "Kind of c?", "The kind of c is class."),
    Pair(BOTH, "summary", "d", "Which does d?", "That is d."),
    Pair(UNREAD, "package", "e", "Package of e?", UNKNOWN, "The package of e is x."),
    Pair(INVENTED, "package", "f", "Package of f?", UNKNOWN),
    Pair(OTHER, "outside", "g", "Rain?", OUTSIDE),
    Pair(NEW_OTHER, "outside", "h", "Joke?", OUTSIDE),
    Pair(LANGUAGES, "outside", "i", "Java?", OUTSIDE),
]
SAID = [
    "The package of a is x.",
    UNKNOWN,
    "The kind of c is function.",
    "That is d.",
    "The package of e is x.",
    UNKNOWN,
    OUTSIDE,
    "The package of h is x.",
    UNKNOWN,
]


def test_right_answers_and_refusals_are_counted_by_hand():
    found = summary(ASKED, SAID)
    right = {kind: one["score"] for kind, one in found["right"].items()}
    assert right == dict(
        zip((*KNOWN, *NOT_KNOWN, *NOT_HERE), (0.5, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0), strict=True)
    )
    turned = {kind: one["score"] for kind, one in found["turned down"].items()}
    assert turned == dict(
        zip((*KNOWN, *NOT_KNOWN, *NOT_HERE), (0.5, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0), strict=True)
    )
    assert found["relations"] == {
        "package": {NEW_WORDS: 0.5},
        "kind": {NEVER_ASKED: 0.0},
        "summary": {BOTH: 1.0},
    }
    # two names: both wrong, one of each, both right, at a quarter, a half and a quarter
    assert found["right"][NEW_WORDS] == {"score": 0.5, "low": 0.0, "high": 1.0}


def test_a_guess_is_right_about_what_nobody_told():
    assert guesses(ASKED, SAID) == {"package": 1.0}
    assert guesses(ASKED, [UNKNOWN] * len(ASKED)) == {"package": 0.0}


def test_differences_are_of_the_same_questions():
    better = [pair.answer for pair in ASKED]
    assert difference(ASKED, better, SAID)[NEVER_ASKED]["score"] == 1.0
    assert difference(ASKED, better, SAID)[NEW_WORDS]["score"] == 0.5
    assert all(gap["score"] == 0 for gap in difference(ASKED, SAID, SAID).values())


def test_the_most_frequent_value_knows_no_name():
    known = [
        Fact("package", "a", "x"),
        Fact("package", "b", "x"),
        Fact("package", "c", "y"),
        Fact("kind", "c", "class"),
        Fact("parameter", "a", "n"),
        Fact("base", "c", "Z"),
        Fact("summary", "k", "Do it well."),
    ]
    said = frequent(Curated(known, [], [], {}), ASKED)
    assert said[:4] == [
        "The package of a is x.",
        "The package of b is x.",
        "The kind of c is class.",
        "That is k.",
    ]
    assert said[-1] == ""
    assert not any(kind["score"] for kind in summary(ASKED, said)["turned down"].values())


def test_of_each_kind_a_question_is_shown():
    rows = shown(ASKED, SAID, SAID)
    assert [row[0] for row in rows] == [pair.question for pair in ASKED if pair.name != "b"]
