r"""Scores of the domain expert: what it knows, turns down, guesses and makes up, with intervals by name.

Questions about one name go right or wrong together, so that intervals draw whole names anew. Where a model is
right about a name that nobody told it, it has guessed; where it turns down one that it read about, it is too
careful. Both shares are reported beside what is right.

Leaves out: answers that are right in other words; all are compared as they stand.
"""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from llmguide.projects.analysis.bootstrap import cluster_bootstrap_interval
from llmguide.projects.domain_expert.dataset import Curated
from llmguide.projects.domain_expert.facts import RELATIONS, Fact
from llmguide.projects.domain_expert.templates import (
    KNOWN,
    NOT_HERE,
    NOT_KNOWN,
    OUTSIDE,
    UNKNOWN,
    UNREAD,
    Pair,
    answer,
)

KINDS = (*KNOWN, *NOT_KNOWN, *NOT_HERE)


def frequent(found: Curated, asked: Sequence[Pair]) -> list[str]:
    """Give the most frequent value of each relation, and turn nothing down."""
    often: dict[str, str] = {}
    for relation in RELATIONS:
        told = [fact for fact in found.known if fact.relation == relation]
        value = Counter(fact.value for fact in told).most_common(1)[0][0]
        # of summaries the name is asked for, and each has another
        often[relation] = answer(Fact(relation, told[0].name if relation == "summary" else "{0}", value))
    return [often.get(pair.about, "").format(pair.name) for pair in asked]


def summary(asked: Sequence[Pair], said: Sequence[str]) -> dict[str, Any]:
    """Score each kind of question: right answers, and those that turn it down, with intervals."""
    right = [float(text == pair.answer) for pair, text in zip(asked, said, strict=True)]
    turned = [float(text in (UNKNOWN, OUTSIDE)) for text in said]
    return {
        "right": {kind: _interval(asked, right, kind) for kind in KINDS},
        "turned down": {kind: _interval(asked, turned, kind) for kind in KINDS},
        "relations": {
            relation: {kind: _mean(asked, right, kind, relation) for kind in dict.fromkeys(kinds_asked)}
            for relation in RELATIONS
            if (kinds_asked := [p.kind for p in asked if p.about == relation and p.kind in KNOWN])
        },
    }


def guesses(asked: Sequence[Pair], said: Sequence[str]) -> dict[str, float]:
    """Share of the facts that nobody told which a model hits by guessing from the name."""
    hits = [float(text == pair.truth) for pair, text in zip(asked, said, strict=True)]
    about = dict.fromkeys(pair.about for pair in asked if pair.kind == UNREAD)
    return {relation: _mean(asked, hits, UNREAD, relation) for relation in about}


def difference(asked: Sequence[Pair], one: Sequence[str], other: Sequence[str]) -> dict[str, Any]:
    """Compare two models on the same questions of each kind."""
    gaps = [float(a == p.answer) - float(b == p.answer) for p, a, b in zip(asked, one, other, strict=True)]
    return {kind: _interval(asked, gaps, kind) for kind in KINDS}


def shown(asked: Sequence[Pair], said: Sequence[str], openly: Sequence[str]) -> list[list[str]]:
    """Return the first questions of each kind, about two relations, what is right and what was said."""
    firsts: dict[str, dict[str, int]] = {}
    for i, pair in enumerate(asked):
        about = firsts.setdefault(pair.kind, {})
        if len(about) < 2:
            about.setdefault(pair.about, i)
    places = [i for about in firsts.values() for i in about.values()]
    return [[asked[i].question, asked[i].answer, said[i][:60], openly[i][:60]] for i in places]


def _interval(asked: Sequence[Pair], values: Sequence[float], kind: str) -> dict[str, float]:
    chosen = [i for i, pair in enumerate(asked) if pair.kind == kind]
    found = cluster_bootstrap_interval([values[i] for i in chosen], [asked[i].name for i in chosen])
    return {name: round(value, 3) for name, value in found._asdict().items()}


def _mean(asked: Sequence[Pair], values: Sequence[float], kind: str, about: str) -> float:
    chosen = [v for v, p in zip(values, asked, strict=True) if p.kind == kind and p.about == about]
    return round(fmean(chosen), 3)
