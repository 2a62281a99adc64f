r"""Evaluation of the chatbot: retrieval, faithfulness and correctness of its answers, and when it abstains.

Every question has either a gold quotation from the documents or no answer in them (`questions`):

- **cut**: chunking methods, by how often the retrieved passages hold the whole answer;
- **found**: rankings at random, by words, by meaning and by both, each question against all passages;
- **said**: each sentence of an answer against the passages that it cites (`support`), and the answer against
  the gold quotation: it is right if it contains it;
- **refused**: the gate is fitted on one half of the questions and tested on the other (two-fold
  cross-validation).

Confidence intervals resample questions (bootstrap). Two methods are compared by their paired differences on
the same questions.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from statistics import fmean
from typing import Any, get_args

from llmguide.data.cleaning.dedup import plain_words
from llmguide.data.documents import Document
from llmguide.evaluation.metrics import bootstrap_interval, wilson_interval
from llmguide.projects.retrieval_chatbot.answer import N_PASSAGES, REFUSAL, fit_gate
from llmguide.projects.retrieval_chatbot.chunks import Chunk, cut, distinct, windows
from llmguide.projects.retrieval_chatbot.metrics import ndcg_at, recall_at, reciprocal_rank
from llmguide.projects.retrieval_chatbot.questions import Question, flat, relevant
from llmguide.projects.retrieval_chatbot.search import DEPTH, Search, Way, WordSearch
from llmguide.projects.retrieval_chatbot.support import SUPPORTED, claims, covered

CHANCE = "chance"
MEASURES: dict[str, Callable[[list[str], set[str]], float]] = {
    "recall@1": lambda ranking, wanted: recall_at(1, ranking, wanted),
    "recall@5": lambda ranking, wanted: recall_at(5, ranking, wanted),
    "MRR": reciprocal_rank,
    "nDCG@10": lambda ranking, wanted: ndcg_at(10, ranking, wanted),
}
READ = 2400  # characters: three passages of the default size
CUTS: dict[str, Callable[[Document], Iterable[Chunk]]] = {
    "structure, 400": partial(cut, size=400, overlap=50),
    "structure, 800": partial(cut, size=800, overlap=100),
    "structure, 1600": partial(cut, size=1600, overlap=200),
    "windows, 800": partial(windows, size=800, overlap=100),
}
Writer = Callable[[str, list[Chunk]], Iterable[str]]  # (question, passages) -> answer in pieces


def evaluate_retrieval(search: Search, questions: Sequence[Question], seed: int) -> dict[str, Any]:
    """Evaluate the rankings of passages on questions that the documents answer.

    Args:
        search: Search engine that ranks the passages.
        questions: Test questions; those without an answer are left out.
        seed: Seed of the random ranking.

    Returns:
        The number of questions, the number whose answer no single passage holds whole, the scores of each
        method with their intervals, and the gain of both methods together over each alone. A quotation that
        no passage holds scores 0.
    """
    answered = [question for question in questions if question.quote]
    texts = [flat(chunk.text) for chunk in search.chunks]
    relevant_ids = [relevant(question.quote, search.chunks, texts) for question in answered]
    ids, rng = [chunk.id for chunk in search.chunks], random.Random(seed)
    ways: dict[str, Callable[[str], list[str]]] = {CHANCE: lambda _: rng.sample(ids, min(DEPTH, len(ids)))}
    for way in get_args(Way):
        ways[way] = lambda text, way=way: [hit.chunk.id for hit in search(text, DEPTH, way)]  # type: ignore[misc]
    scores: dict[str, dict[str, list[float]]] = {}
    for way, rank in ways.items():
        rankings = [rank(question.text) for question in answered]
        scores[way] = {
            name: [measure(r, w) if w else 0.0 for r, w in zip(rankings, relevant_ids, strict=True)]
            for name, measure in MEASURES.items()
        }
    gains = {
        way: {
            name: [a - b for a, b in zip(scores["both"][name], scores[way][name], strict=True)]
            for name in MEASURES
        }
        for way in ("words", "meaning")
    }
    return {
        "n_questions": len(answered),
        "cut_apart": sum(not ids_of_one for ids_of_one in relevant_ids),
        "ways": {way: _intervals(values) for way, values in scores.items()},
        "both_over": {way: _intervals(values) for way, values in gains.items()},
    }


def compare_chunking(documents: Sequence[Document], questions: Sequence[Question]) -> dict[str, Any]:
    """Compare chunking methods, with BM25 alone, which needs no vectors.

    A reader's context is limited by characters, not by the number of passages. So a method scores when the
    first `READ` characters of the retrieved passages hold the whole answer.

    Returns:
        For each method the number of passages, the number of answers that no passage holds whole, and the
        fraction of questions whose answer is in the characters read.
    """
    results = {}
    for name, method in CUTS.items():
        chunks = distinct(chunk for document in documents for chunk in method(document))
        search, hits, n_apart = WordSearch(chunks), [], 0
        texts = [flat(chunk.text) for chunk in chunks]
        for question in questions:
            if question.quote:
                budget, context = READ, ""
                for hit in search(question.text, DEPTH):
                    budget -= len(hit.chunk.text)
                    if budget < 0:
                        break
                    context += flat(hit.chunk.text) + "\n"
                hits.append(float(flat(question.quote) in context))
                n_apart += not any(flat(question.quote) in text for text in texts)
        results[name] = {"n": len(chunks), "cut_apart": n_apart, "held": _intervals({"held": hits})["held"]}
    return results


def evaluate_answers(search: Search, questions: Sequence[Question], write: Writer) -> dict[str, Any]:
    """Evaluate answers to questions that the documents answer.

    Returns:
        With intervals: the fraction of sentences that a cited passage supports, the fraction of answers whose
        sentences are all supported, the fraction of answers that contain the gold quotation, and the refusal
        rate; also three sample answers.
    """
    samples: list[dict[str, str]] = []
    supported, faithful, right, refused = [], [], [], []
    for question in questions:
        if question.quote:
            passages = [hit.chunk for hit in search(question.text, N_PASSAGES)]
            answer = "".join(write(question.text, passages))
            refused.append(float(REFUSAL in answer))
            right.append(float(covered(plain_words(question.quote), plain_words(answer)) >= SUPPORTED))
            if not refused[-1]:
                verdicts = [float(claim.supported) for claim in claims(answer, passages)]
                supported += verdicts
                faithful.append(float(all(verdicts)))
            if len(samples) < 3:
                samples.append({"question": question.text, "answer": answer})
    scores = {"supported": supported, "faithful": faithful, "right": right, "refused": refused}
    return {"n": len(refused), **_intervals({k: v for k, v in scores.items() if v}), "samples": samples}


def evaluate_abstention(search: Search, questions: Sequence[Question], seed: int) -> dict[str, Any]:
    """Evaluate the gate by two-fold cross-validation over the questions.

    Args:
        search: Search engine that finds the nearest passage.
        questions: Questions of all kinds.
        seed: Seed of the split into halves.

    Returns:
        The fraction of questions of each kind that the gate lets through, with its interval; the gate fitted
        on all questions; and the AUC: the probability that an answerable question has a higher cosine than an
        unanswerable one.
    """
    cosines = {question: search.nearest(question.text) for question in questions}
    passed: dict[str, list[bool]] = {kind: [] for kind in sorted({question.kind for question in questions})}
    folds = halves(questions, seed)
    for train, test in (folds, folds[::-1]):
        gate = _gate(train, cosines)
        for question in test:
            passed[question.kind].append(cosines[question] >= gate)
    answerable = [cosines[question] for question in questions if question.quote]
    unanswerable = [cosines[question] for question in questions if not question.quote]
    auc = fmean((a > b) + 0.5 * (a == b) for a in answerable for b in unanswerable)
    return {
        "through": {kind: wilson_interval(sum(v), len(v))._asdict() for kind, v in passed.items()},
        "gate": _gate(questions, cosines),
        "separated": auc,
        "nearest": {kind: [round(cosines[q], 3) for q in questions if q.kind == kind] for kind in passed},
    }


def halves(questions: Sequence[Question], seed: int) -> tuple[list[Question], list[Question]]:
    """Split questions at random into two halves, stratified by kind.

    >>> questions = [Question(str(i), "", "near" if i % 2 else "far") for i in range(8)]
    >>> [sorted(question.kind for question in half) for half in halves(questions, seed=0)]
    [['far', 'far', 'near', 'near'], ['far', 'far', 'near', 'near']]
    """
    shuffled = random.Random(seed).sample(list(questions), len(questions))
    ordered = sorted(shuffled, key=lambda question: question.kind)  # a stable sort: each kind stays shuffled
    return ordered[::2], ordered[1::2]


def _gate(questions: Sequence[Question], near: dict[Question, float]) -> float:
    return fit_gate(
        [near[question] for question in questions if question.quote],
        [near[question] for question in questions if not question.quote],
    )


def _intervals(values: dict[str, list[float]]) -> dict[str, Any]:
    return {name: bootstrap_interval(v, n_resamples=2000)._asdict() for name, v in values.items()}
