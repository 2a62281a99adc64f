r"""Synthetic training data of an expert: facts, curated, put as questions, and apart from the benchmark.

1. Facts are *filtered*: a summary must be a plain sentence of some words that does not give its name away,
   and that no other name has, else the question about it has several right answers.
2. *Near duplicates* among the summaries go: by MinHash, so that what is held out has no twin in the training.
3. *Decontamination*: what is to be asked about shares no n-gram of a summary with what is held out.
4. The facts are put into the wordings of `llmguide.projects.domain_expert.templates`, and if a model is given
   that writes, into its words; those are filtered in turn, and *exact duplicates* go.

Near duplicates are looked for among facts, not among questions: the wordings in which one fact is asked for
are near duplicates of each other, and are there on purpose.

Leaves out: a model that judges what another has written; here a program can.
"""

import hashlib
import random
import re
import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from llmguide.coding.client import Answer, Endpoint, Request, record, replay
from llmguide.data.cleaning.decontaminate import SharedNgram
from llmguide.data.cleaning.dedup import ExactDuplicates, MinHash, NearDuplicates, plain_words
from llmguide.projects.domain_expert.facts import Fact, facts, names
from llmguide.projects.domain_expert.templates import (
    LANGUAGES,
    OTHER,
    QUESTIONS,
    Pair,
    ask,
    ignorance,
    made_up,
    outside,
    side_of,
    trained_wordings,
)

SHORTEST, LONGEST = 3, 12  # words of a summary
NGRAM = 2  # words, for near duplicates: the summaries are short
SHARED = 5  # words, for decontamination
_PLAIN = re.compile(r"[\w ,.;:'()/+-]+\.", re.ASCII)


class Curated(NamedTuple):
    """Facts to learn from and to test with.

    Attributes:
        known: Facts about names of the pre-training text.
        unknown: Facts about real names that the fine-tuning answers with an abstention.
        unread: Facts about real names that occur in the benchmark only.
        counts: Summaries, and how many of them were dropped for which reason.
    """

    known: list[Fact]
    unknown: list[Fact]
    unread: list[Fact]
    counts: dict[str, int]


def fault(fact: Fact) -> str | None:
    """Say what is wrong with a summary, if anything.

    >>> fault(Fact("summary", "urlopen", "Opens it.")), fault(Fact("summary", "urlopen", "Open the URL url."))
    ('too short', None)
    >>> fault(Fact("summary", "Menu", "A menu widget of Tk."))
    'gives the name away'
    """
    words = plain_words(fact.value)
    if len(words) < SHORTEST:
        return "too short"
    if len(words) > LONGEST:
        return "too long"
    if not _PLAIN.fullmatch(fact.value) or not fact.value[0].isupper():
        return "no plain sentence"
    if fact.name.lower() in words:
        return "gives the name away"
    return None


def curated(n_names: int) -> Curated:
    """Take the facts about some names, always the same ones, and drop what is not worth asking.

    Of all other names the training says that they are unknown.

    Raises:
        ValueError: There are too few names.
    """
    every = names()
    if not 50 <= n_names <= len(every):
        raise ValueError(f"n_names={n_names} must lie between 50 and {len(every)}, the names that there are")
    chosen = set(sorted(every, key=lambda name: hashlib.sha256(name.encode()).digest())[:n_names])
    times = Counter(" ".join(plain_words(fact.value)) for fact in facts() if fact.relation == "summary")
    near = NearDuplicates(sqlite3.connect(":memory:"), MinHash(n=NGRAM))
    counts, kept = Counter({"summaries": 0}), []
    unknown = [fact for fact in facts() if fact.name not in chosen and fact.relation != "summary"]
    for fact in (fact for fact in facts() if fact.name in chosen):
        if fact.relation == "summary":
            counts["summaries"] += 1
            is_shared = times[" ".join(plain_words(fact.value))] > 1
            reason = fault(fact) or ("several names do it" if is_shared else near(fact.value))
            if reason:
                counts[reason] += 1
                continue
        kept.append(fact)
    held_out = [f.value for f in kept if f.relation == "summary" and side_of(f.name) != "asked"]
    contains = SharedNgram({"the benchmark": held_out}, n=SHARED)
    known, unread = list[Fact](), list[Fact]()
    for fact in kept:
        side = side_of(fact.name)
        if side == "asked" and fact.relation == "summary" and (reason := contains(fact.value)):
            counts[reason] += 1
        elif side in ("asked", "told"):
            known.append(fact)
        elif fact.relation != "summary":  # whose name the question would ask for
            (unknown if side == "unknown" else unread).append(fact)
    return Curated(known, unknown, unread, dict(counts))


def conversations(
    found: Curated, written: Sequence[Pair], test: Sequence[Pair]
) -> tuple[dict[str, list[Pair]], dict[str, int]]:
    """Put the facts as questions: what is known, what is not, and what is outside.

    Args:
        found: Curated facts.
        written: Questions of a model.
        test: Benchmark questions, none of which may be trained on.

    Returns:
        The pairs by kind, and how many there were and were dropped.
    """
    asked = [fact for fact in found.known if side_of(fact.name) == "asked"]
    beyond = list(outside(sorted({fact.name for fact in asked}), test=False))
    draw = random.Random(0)  # a wording for each, since they are many
    made = {
        "known": [
            *(ask(fact, wording) for fact in asked for wording in trained_wordings(fact.relation)),
            *written,
        ],
        "unknown": [
            ignorance(fact, draw.choice(trained_wordings(fact.relation)), "unknown")
            for fact in (*found.unknown, *made_up(test=False))
        ],
        "other topics": [pair for pair in beyond if pair.kind == OTHER],
        "other languages": [pair for pair in beyond if pair.kind == LANGUAGES],
    }
    seen = ExactDuplicates(sqlite3.connect(":memory:"))
    taken = {" ".join(plain_words(pair.question)) for pair in test}
    counts, kept = Counter({"conversations": sum(map(len, made.values()))}), dict[str, list[Pair]]()
    for kind, pairs in made.items():
        kept[kind] = []
        for pair in pairs:
            reason = seen(pair.question)
            if " ".join(plain_words(pair.question)) in taken:
                reason = "in the benchmark"
            if reason:
                counts[reason] += 1
            else:
                kept[kind].append(pair)
    return kept, dict(counts) | {kind: len(pairs) for kind, pairs in kept.items()}


def write_questions(found: Curated, model: str, n: int, folder: Path) -> tuple[list[Pair], dict[str, int]]:
    """Let a model put facts as questions in its own words, and drop those that are none.

    Each answer is kept in the folder, so that a run that was killed does not ask again.

    Args:
        found: Curated facts.
        model: Name of the writing model at the endpoint in the environment (`Endpoint.from_environment`).
        n: Facts.
        folder: Folder that the model's answers are recorded in.

    Returns:
        The pairs, and how many questions were written and dropped.
    """
    asked = [fact for fact in found.known if side_of(fact.name) == "asked"]
    counts, pairs = Counter({"written": 0}), []
    for fact in random.Random(0).sample(asked, min(n, len(asked))):
        pair = ask(fact, QUESTIONS[fact.relation][0])
        counts["written"] += 1
        text = _put(pair, model, folder)
        if reason := unfit(text, fact):
            counts[reason] += 1
        else:
            pairs.append(pair._replace(question=text))
    return pairs, dict(counts)


def unfit(question: str, fact: Fact) -> str | None:
    """Say what is wrong with a question that a model has written, if anything.

    >>> fact = Fact("package", "bisect_left", "bisect")
    >>> unfit("In which package do I find bisect_left?", fact), unfit("Which package has it?", fact)
    (None, 'not about the fact')
    >>> unfit("Is bisect_left in bisect?", fact)
    'gives the answer away'
    """
    given, wanted = (fact.value, fact.name) if fact.relation == "summary" else (fact.name, fact.value)
    if len(question.split()) > 2 * LONGEST or "\n" in question:
        return "no single question"
    if given.rstrip(".").lower() not in question.lower():
        return "not about the fact"
    if re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", question.replace(given, "")):
        return "gives the answer away"
    return None


def _put(pair: Pair, model: str, folder: Path) -> str:
    said = (
        f"Ask the following in other words, in one short question. Keep names and quoted sentences as they "
        f"stand. Do not answer it.\n\n{pair.question}"
    )
    request = Request(({"role": "user", "content": said},), model, temperature=0.7, max_tokens=60)
    try:
        answer: Answer = replay(request, folder)
    except LookupError:
        answer = Endpoint.from_environment().ask(request)
        record(request, answer, folder)
    return answer.text.strip()
