"""Votes on the bot's answers, and what a reranker that learns from them changes on held-out questions.

The votes come from the database of the application, or from simulated users. A simulated user asks each
question `N_ATTEMPTS` times, reads the answer, which quotes the next passages each time, and likes it if it
contains the gold quotation; a tenth of the votes are flipped.

A question is held out if no vote on an answer to it is in the training data. Simulated votes are split by
question into two halves, and each half tests the reranker that was fitted to the other (two-fold
cross-validation, averaged over `N_SPLITS` splits with votes of their own). Of votes in a database, those on
test questions are left out.
"""

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from llmguide.data.cleaning.dedup import plain_words
from llmguide.evaluation.metrics import bootstrap_interval
from llmguide.projects.retrieval_chatbot.answer import N_PASSAGES, quotable, quotation
from llmguide.projects.retrieval_chatbot.chunks import Chunk
from llmguide.projects.retrieval_chatbot.evaluation import halves
from llmguide.projects.retrieval_chatbot.questions import Question, flat
from llmguide.projects.retrieval_chatbot.rerank import (
    FEATURES,
    N_ATTEMPTS,
    N_READ,
    Candidate,
    Reranker,
    best_passages,
    find_candidates,
    fit,
)
from llmguide.projects.retrieval_chatbot.search import Search
from llmguide.projects.retrieval_chatbot.support import SUPPORTED, covered
from llmguide.projects.user_preferences import MISTAKES

SIMULATED = "simulated"
N_SPLITS = 5
_QUOTED = re.compile(r"“(.+?)” \[\d+\](?= “|$)", re.DOTALL)


class Vote(NamedTuple):
    """A vote on an answer.

    Attributes:
        question: Text of the question.
        answer: Text of the answer.
        liked: Whether the user liked the answer.
    """

    question: str
    answer: str
    liked: bool


def read_votes(url: str, application: str) -> list[Vote]:
    """Read the votes of an application's users on answers that quote.

    Args:
        url: Address of the application's database.
        application: Name of the application.
    """
    from llmguide.projects.webapp.store import Store  # noqa: PLC0415  # an extra

    store = Store(url, application)
    votes = [Vote(rated.settings["question"], rated.text, rated.verdict > 0) for rated in store.ratings()]
    store.close()
    return votes


def simulate_votes(
    pools: dict[Question, list[Candidate]], rankings: dict[Question, list[Chunk]], seed: int
) -> list[Vote]:
    """Let simulated users vote on the answers to questions.

    Args:
        pools: For each question that passes the gate, its candidates.
        rankings: For each question, its passages, best first.
        seed: Seed of the flipped votes.
    """
    rng, votes = random.Random(seed), []
    for question, pool in pools.items():
        cosines = [candidate.features[0] for candidate in pool]
        for attempt in range(N_ATTEMPTS):
            answer = quote_from(pool, cosines, rankings[question][N_PASSAGES * attempt :][:N_PASSAGES])
            liked = bool(question.quote) and contains(answer, question.quote)
            votes.append(Vote(question.text, answer, liked != (rng.random() < MISTAKES)))
    return votes


def quote_from(pool: Sequence[Candidate], scores: Sequence[float], passages: Sequence[Chunk]) -> str:
    """Write the answer that quotes the candidates with the highest scores in some passages."""
    score_of = {candidate.text: score for candidate, score in zip(pool, scores, strict=True)}
    known = [(number, text) for number, text in quotable(passages) if text in score_of]
    return "".join(quotation(known, [score_of[text] for _, text in known]))


def contains(answer: str, quote: str) -> bool:
    """Return whether an answer contains a gold quotation, by the measure of the evaluation."""
    return covered(plain_words(quote), plain_words(answer)) >= SUPPORTED


def train(votes: Iterable[Vote], pools: dict[str, list[Candidate]]) -> Reranker:
    """Fit a reranker to votes.

    Args:
        votes: Votes on answers; sentences that are no candidates, such as a model's own, are left out.
        pools: Candidates of each question.

    Raises:
        ValueError: No vote is on a quotation, or the votes are all the same.
    """
    answers, liked = [], []
    for vote in votes:
        features = {candidate.text: candidate.features for candidate in pools[vote.question]}
        quoted = [features[text] for text in _QUOTED.findall(vote.answer) if text in features]
        if quoted:
            answers.append(quoted)
            liked.append(vote.liked)
    return fit(answers, liked)


def learn(
    search: Search, questions: Sequence[Question], gate: float, votes: Sequence[Vote] | None, seed: int
) -> tuple[Reranker, dict[str, Any]]:
    """Train a reranker on votes, and evaluate it on held-out questions.

    Args:
        search: Search engine over the documents.
        questions: Test questions.
        gate: Cosine similarity below which the bot abstains, so that there is no vote.
        votes: Votes of users; None: simulated users ask the test questions.
        seed: Seed of the simulated votes, and of the split of the questions.

    Returns:
        The reranker that was fitted to all votes, and the results: numbers of votes, weights, and scores with
        intervals over questions. The scores are those of the bot before and after on held-out questions; the
        fraction of questions that a candidate answers, the most that a reranker could reach; and that of the
        final reranker, which may have seen votes on the same questions.

    Raises:
        ValueError: The votes teach nothing.
    """
    pools = {question: find_candidates(search, question.text) for question in questions}
    rankings = {q: [hit.chunk for hit in search(q.text, N_READ)] for q in questions}
    by_text = {question.text: pool for question, pool in pools.items()}
    splits: list[tuple[list[Vote], list[Question]]] = []
    if votes is None:
        passing = {
            question: pools[question] for question in questions if search.nearest(question.text) >= gate
        }
        usable = simulate_votes(passing, rankings, seed)
        for i in range(N_SPLITS):
            voted, halves_of_split = simulate_votes(passing, rankings, seed + i), halves(questions, seed + i)
            splits += [
                (of_questions(voted, train), test) for train, test in (halves_of_split, halves_of_split[::-1])
            ]
    else:
        usable = [vote for vote in votes if vote.question not in by_text]
        by_text |= {vote.question: find_candidates(search, vote.question) for vote in usable}
        splits = [(usable, list(questions))]
    found: dict[str, dict[Question, list[float]]] = defaultdict(lambda: defaultdict(list))
    for train_votes, test in splits:
        reranker = train(train_votes, by_text)
        for question in test:
            if question.quote:
                for name, value in compare(question, pools[question], rankings[question], reranker).items():
                    found[name][question].append(float(value))
    scores = {name: [fmean(values) for values in of.values()] for name, of in found.items()}
    for part in ("right", "read"):
        for other in ("before", "nearest"):
            pairs = zip(scores[f"{part} after"], scores[f"{part} {other}"], strict=True)
            scores[f"{part} over {other}"] = [after - before for after, before in pairs]
    final = train(usable, by_text)
    answered = [question for question in questions if question.quote]
    scores["in candidates"] = [
        float(any(contains(candidate.text, question.quote) for candidate in pools[question]))
        for question in answered
    ]
    scores["right final"] = [
        float(compare(question, pools[question], rankings[question], final)["right after"])
        for question in answered
    ]
    return final, {
        "n_votes": len(usable),
        "n_liked": sum(vote.liked for vote in usable),
        "n_questions": len(scores["right after"]),
        "weights": dict(zip(FEATURES, final.weights, strict=True)),
        "scores": {name: bootstrap_interval(v, n_resamples=2000)._asdict() for name, v in scores.items()},
    }


def of_questions(votes: Sequence[Vote], questions: Sequence[Question]) -> list[Vote]:
    """Return the votes on answers to some questions."""
    texts = {question.text for question in questions}
    return [vote for vote in votes if vote.question in texts]


def compare(
    question: Question, pool: Sequence[Candidate], ranking: Sequence[Chunk], reranker: Reranker
) -> dict[str, bool]:
    """Compare answers to a question before and after training.

    Before, the bot reads the first passages of the ranking; ``nearest`` is a control without training, which
    chooses from as many passages as the reranker, by the cosine of the sentence. Right is an answer that
    contains the gold quotation, read one whose passages do.
    """
    cosines, learned = [candidate.features[0] for candidate in pool], reranker(pool)
    ways = {
        "before": (cosines, ranking),
        "nearest": (cosines, best_passages(pool, cosines)),
        "after": (learned, best_passages(pool, learned)),
    }
    found = {}
    for name, (scores, passages) in ways.items():
        read = passages[:N_PASSAGES]
        found[f"right {name}"] = contains(quote_from(pool, scores, read), question.quote)
        found[f"read {name}"] = any(flat(question.quote) in flat(passage.text) for passage in read)
    return found
