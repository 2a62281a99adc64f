r"""Synthetic training data of the domain expert: curated facts, written as questions, decontaminated.

1. Facts are *filtered*: a summary must be a short plain sentence that does not contain its name, and that no
other name has; otherwise the question about it has several correct answers.
2. *Near duplicates* among the summaries are dropped by MinHash, so no held-out fact has a copy in the
training data.
3. *Decontamination*: the summaries of training questions share no n-gram with held-out ones.
4. The facts are written as questions with the templates of `llmguide.projects.domain_expert.templates` and,
if there is a writing model, in its words. Its questions are filtered in turn, and *exact duplicates* are
dropped.

Near duplicates are removed among facts, not among questions: the paraphrases of one question are near
duplicates of each other on purpose.

Leaves out: an LLM judge of written questions; here a program can check them.
"""

import hashlib
import random
import re
import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from llmguide.coding.client import Endpoint, Request, Response
from llmguide.coding.replay import record, replay
from llmguide.data.cleaning.decontaminate import SharedNgram
from llmguide.data.cleaning.dedup import ExactDuplicates, MinHash, NearDuplicates, plain_words
from llmguide.projects.domain_expert.facts import Fact, facts, names
from llmguide.projects.domain_expert.off_topic import off_topic
from llmguide.projects.domain_expert.templates import (
    LANGUAGES,
    OTHER,
    QUESTIONS,
    Pair,
    ask,
    ask_unknown,
    invented_facts,
    side_of,
    training_templates,
)

SHORTEST, LONGEST = 3, 12  # words of a summary
NGRAM = 2  # words, for near duplicates: the summaries are short
SHARED = 5  # words, for decontamination
_PLAIN = re.compile(r"[\w ,.;:'()/+-]+\.", re.ASCII)


class Curated(NamedTuple):
    """Facts to learn from and to test with.

    Attributes:
        known: Facts about names of the pre-training text.
        unknown: Facts about real names; the fine-tuning data answers them with an abstention.
        unread: Facts about real names that are in the benchmark only.
        counts: Number of summaries, and of those dropped for each reason.
    """

    known: list[Fact]
    unknown: list[Fact]
    unread: list[Fact]
    counts: dict[str, int]


def fault(fact: Fact) -> str | None:
    """Return the reason to drop a summary, or None to keep it.

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
    """Curate the facts about a fixed sample of names.

    The fine-tuning data treats all other names as unknown.

    Raises:
        ValueError: There are too few names.
    """
    every = names()
    if not 50 <= n_names <= len(every):
        raise ValueError(f"n_names={n_names} must be between 50 and {len(every)}, the number of names")
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
        elif fact.relation != "summary":  # the question asks for the name
            (unknown if side == "unknown" else unread).append(fact)
    return Curated(known, unknown, unread, dict(counts))


def conversations(
    found: Curated, written: Sequence[Pair], test: Sequence[Pair]
) -> tuple[dict[str, list[Pair]], dict[str, int]]:
    """Write the training questions: known facts, unknown facts, and off-topic requests.

    Args:
        found: Curated facts.
        written: Questions that a model has written.
        test: Benchmark questions, which are excluded from training.

    Returns:
        The pairs by kind, and the numbers of pairs made and dropped.
    """
    asked = [fact for fact in found.known if side_of(fact.name) == "asked"]
    beyond = list(off_topic(sorted({fact.name for fact in asked}), test=False))
    draw = random.Random(0)  # one template for each, since they are many
    made = {
        "known": [
            *(ask(fact, wording) for fact in asked for wording in training_templates(fact.relation)),
            *written,
        ],
        "unknown": [
            ask_unknown(fact, draw.choice(training_templates(fact.relation)), "unknown")
            for fact in (*found.unknown, *invented_facts(test=False))
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
    """Let a model write questions about facts in its own words, and drop unusable ones.

    Each response is saved in the folder, so a resumed run does not request it again.

    Args:
        found: Curated facts.
        model: Name of the model at the endpoint in the environment (`Endpoint.from_environment`).
        n: Number of facts.
        folder: Folder that the responses are recorded in.

    Returns:
        The pairs, and the numbers of questions written and dropped.
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
    """Return the reason to drop a question that a model has written, or None to keep it.

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
        answer: Response = replay(request, folder)
    except LookupError:
        answer = Endpoint.from_environment().ask(request)
        record(request, answer, folder)
    return answer.text.strip()
