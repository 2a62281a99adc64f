"""The benchmark of the domain expert: known and unknown names, and off-topic requests."""

import random
from collections.abc import Sequence

from llmguide.projects.domain_expert.facts import Fact
from llmguide.projects.domain_expert.off_topic import off_topic
from llmguide.projects.domain_expert.templates import (
    BOTH,
    INVENTED,
    NEVER_ASKED,
    NEW_WORDS,
    NOT_HERE,
    QUESTIONS,
    UNREAD,
    Pair,
    ask,
    ask_unknown,
    invented_facts,
    side_of,
)


def benchmark(known: Sequence[Fact], unread: Sequence[Fact], n: int) -> list[Pair]:
    """Sample the questions of the benchmark, deterministically.

    Args:
        known: Facts that are in the pre-training text.
        unread: Facts that are not in the pre-training text.
        n: Most questions of each kind about each relation.
    """
    draw, found = random.Random(0), list[Pair]()
    for relation, wordings in QUESTIONS.items():
        shown, new = wordings[:-1], wordings[-1]
        by_side = {
            side: [f for f in known if f.relation == relation and side_of(f.name) == side]
            for side in ("asked", "told")
        }
        for side, kind, ways in (
            ("asked", NEW_WORDS, (new,)),
            ("told", NEVER_ASKED, shown),
            ("told", BOTH, (new,)),
        ):
            some = draw.sample(by_side[side], min(n, len(by_side[side])))
            found += [ask(fact, draw.choice(ways), kind) for fact in some]
        for facts_, kind in ((unread, UNREAD), (list(invented_facts(test=True)), INVENTED)):
            some = [f for f in facts_ if f.relation == relation != "summary"]
            found += [ask_unknown(f, draw.choice(shown), kind) for f in draw.sample(some, min(n, len(some)))]
    asked = list({f.name for f in known if side_of(f.name) == "told"})
    beyond = list(off_topic(sorted(asked), test=True))
    for kind in NOT_HERE:
        some_pairs = [pair for pair in beyond if pair.kind == kind]
        found += draw.sample(some_pairs, min(2 * n, len(some_pairs)))
    return found
