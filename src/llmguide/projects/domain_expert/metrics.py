r"""Metrics of the domain expert: accuracy, abstention, over-refusal, guesses and hallucination.

Questions about one name are right or wrong together, so intervals resample whole names. A correct answer
about a name that is not in the training data is a guess; an abstention about a name that is in it is
over-refusal. Both rates are reported beside the accuracy.

Leaves out: correct answers in other words; all are compared as strings.
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


def frequent(facts: Curated, asked: Sequence[Pair]) -> list[str]:
    """Answer with the most frequent value of each relation, and never abstain."""
    often: dict[str, str] = {}
    for relation in RELATIONS:
        told = [fact for fact in facts.known if fact.relation == relation]
        value = Counter(fact.value for fact in told).most_common(1)[0][0]
        # of summaries the name is asked for, and each has another
        often[relation] = answer(Fact(relation, told[0].name if relation == "summary" else "{0}", value))
    return [often.get(pair.about, "").format(pair.name) for pair in asked]


def summary(asked: Sequence[Pair], answers: Sequence[str]) -> dict[str, Any]:
    """Return accuracy and refusal rate on each kind of question, with intervals."""
    right = [float(text == pair.answer) for pair, text in zip(asked, answers, strict=True)]
    refused = [float(text in (UNKNOWN, OUTSIDE)) for text in answers]
    return {
        "right": {kind: _interval(asked, right, kind) for kind in KINDS},
        "turned down": {kind: _interval(asked, refused, kind) for kind in KINDS},
        "relations": {
            relation: {kind: _mean(asked, right, kind, relation) for kind in dict.fromkeys(kinds_asked)}
            for relation in RELATIONS
            if (kinds_asked := [p.kind for p in asked if p.about == relation and p.kind in KNOWN])
        },
    }


def guesses(asked: Sequence[Pair], answers: Sequence[str]) -> dict[str, float]:
    """Return the fraction of held-out facts that a model guesses from the name, by relation."""
    hits = [float(text == pair.truth) for pair, text in zip(asked, answers, strict=True)]
    about = dict.fromkeys(pair.about for pair in asked if pair.kind == UNREAD)
    return {relation: _mean(asked, hits, UNREAD, relation) for relation in about}


def difference(asked: Sequence[Pair], answers: Sequence[str], baseline: Sequence[str]) -> dict[str, Any]:
    """Compare two models on the same questions of each kind."""
    gaps = [
        float(a == p.answer) - float(b == p.answer) for p, a, b in zip(asked, answers, baseline, strict=True)
    ]
    return {kind: _interval(asked, gaps, kind) for kind in KINDS}


def shown(asked: Sequence[Pair], answers: Sequence[str], no_refusal: Sequence[str]) -> list[list[str]]:
    """Return sample questions of each kind, about two relations, with the correct answer and both models'."""
    firsts: dict[str, dict[str, int]] = {}
    for i, pair in enumerate(asked):
        about = firsts.setdefault(pair.kind, {})
        if len(about) < 2:
            about.setdefault(pair.about, i)
    places = [i for about in firsts.values() for i in about.values()]
    return [[asked[i].question, asked[i].answer, answers[i][:60], no_refusal[i][:60]] for i in places]


def _interval(asked: Sequence[Pair], values: Sequence[float], kind: str) -> dict[str, float]:
    chosen = [i for i, pair in enumerate(asked) if pair.kind == kind]
    interval = cluster_bootstrap_interval([values[i] for i in chosen], [asked[i].name for i in chosen])
    return {name: round(value, 3) for name, value in interval._asdict().items()}


def _mean(asked: Sequence[Pair], values: Sequence[float], kind: str, about: str) -> float:
    chosen = [v for v, p in zip(values, asked, strict=True) if p.kind == kind and p.about == about]
    return round(fmean(chosen), 3)
