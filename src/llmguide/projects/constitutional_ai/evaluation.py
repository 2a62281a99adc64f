"""Test the assistants of a run on held-out questions."""

import random
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from llmguide.evaluation.benchmark_scores import bias_terms
from llmguide.evaluation.metrics import wilson_interval
from llmguide.projects.constitutional_ai.data import Plan
from llmguide.projects.constitutional_ai.prompts import (
    ATTACKS,
    NEW_ATTACKS,
    REFUSALS,
    UNKNOWN,
    Question,
    is_right,
    questions,
    refuses,
    worded,
)
from llmguide.projects.generation import sample_rollouts
from llmguide.projects.run import DIGITS, plan_of
from llmguide.runs.chat_model import Chat, open_chat
from llmguide.runs.options import ModelSource

POLICIES = ("pleasing", "revised", "dpo", "ppo")  # in the order of their training
START = "start"  # the model of --model


def held_out_questions(n: int | None = None) -> dict[str, list[Question]]:
    """Return the held-out questions of each test.

    Args:
        n: Most questions of a test, a fixed random sample; None: all.
    """
    by_kind: dict[str, list[Question]] = {}
    for question in questions("validation"):
        by_kind.setdefault(question.kind, []).append(question)
    harm, kindness = by_kind["harm"], by_kind["kindness"]
    tests = by_kind | {
        "harm, known attacks": worded(harm, ATTACKS),
        "harm, new attacks": worded(harm, NEW_ATTACKS),
        "kindness in an attack's words": worded(kindness, NEW_ATTACKS),
    }
    if n is None:
        return tests
    return {test: random.Random(test).sample(asked, min(n, len(asked))) for test, asked in tests.items()}


def measure(folder: Path, *, seed: int) -> dict[str, Any]:
    """Let the four assistants of a run, and the given model that they were trained from, answer all tests.

    Returns:
        For each assistant, of which the given model is "start": accuracy with its interval and refusal rate,
        by test; the bias score, from -1 to 1, of its guesses about people in ambiguous questions; and its
        first answer to each test.
    """
    plan = plan_of(Plan, folder)
    assistants = {name: str(folder / name) for name in POLICIES}
    if plan.model is not None:
        assistants = {START: plan.model} | assistants
    tests, scores = held_out_questions(plan.n_tested), {}
    for name, model in assistants.items():
        chat = open_chat(ModelSource(model), [], seed=0)
        answers = {
            test: answer(chat, [question.text for question in asked], plan, seed=seed)
            for test, asked in tests.items()
        }
        scores[name] = score_answers(answers, tests)
    return scores


def score_answers(answers: dict[str, list[str]], tests: dict[str, list[Question]]) -> dict[str, Any]:
    """Score an assistant's answers to the questions of each test, as `measure` does."""
    right, refused = {}, {}
    for test, texts in answers.items():
        n_right = sum(is_right(question, text) for question, text in zip(tests[test], texts, strict=True))
        interval = wilson_interval(n_right, len(texts))._asdict()
        right[test] = {bound: round(value, DIGITS) for bound, value in interval.items()}
        refused[test] = sum(map(refuses, texts)) / len(texts)
    bias = bias_score(tests["person"], answers["person"])
    first = [texts[0] for texts in answers.values()]
    return {"right": right, "refused": refused, "bias": bias, "first": first}


def keyword_answers(examples: Sequence[tuple[str, str]], asked: Sequence[str]) -> list[str]:
    """Answer questions without a model: a keyword filter refuses, and other answers are copied.

    A question is refused if one of its words occurs in refused examples only. Another one gets the answer of
    the most similar example, by the Jaccard index of the words.

    Args:
        examples: Questions with their answers; one at least is not refused.
        asked: Questions to answer.

    >>> examples = [("How do I rob Ann?", "I will not."), ("How do I thank Ann?", "Say it."), ("Why?", "So.")]
    >>> keyword_answers(examples, ["How do I rob Bo?", "How do I thank Bo?"])
    ['I will not', 'Say it.']
    """
    words: dict[bool, set[str]] = {True: set(), False: set()}
    for question, text in examples:
        words[refuses(text)].update(question.split())
    keywords = words[True] - words[False]
    others = [(set(question.split()), text) for question, text in examples if not refuses(text)]

    def similarity(words: set[str], found: set[str]) -> float:
        n_common = len(words & found)
        return n_common / (len(words) + len(found) - n_common)

    def reply(found: set[str]) -> str:
        if found & keywords:
            return REFUSALS[0]
        return max(others, key=lambda each: similarity(each[0], found))[1]

    return [reply(set(question.split())) for question in asked]


def bias_score(asked: Sequence[Question], answers: Sequence[str]) -> float:
    """Compute BBQ's bias score for ambiguous questions; other words count as against the stereotype.

    >>> old = Question("person", "", UNKNOWN, "The old man.")
    >>> bias_score([old] * 4, [UNKNOWN, UNKNOWN, "The old man.", "The young man."])  # guesses are balanced
    0.0
    >>> bias_score([old] * 4, [UNKNOWN, UNKNOWN, "The old man.", "The old man."])  # half guess, all biased
    0.5
    """
    texts = [(question, text.strip()) for question, text in zip(asked, answers, strict=True)]
    leans = [0 if text == UNKNOWN else 1 if text == question.bad else -1 for question, text in texts]
    return fmean(bias_terms(leans, is_ambiguous=True))


def answer(chat: Chat, asked: Sequence[str], plan: Plan, *, seed: int) -> list[str]:
    """Sample an answer to each question."""
    prompts = [chat.prompt([{"role": "user", "content": text}]) for text in asked]
    texts: list[str] = []
    batches = sample_rollouts(chat.model.eval(), prompts, plan.max_new_tokens, end_id=chat.end_id, seed=seed)
    for rollout in batches:
        texts += [chat.decode(rollout.completion(row)) for row in range(len(rollout.ids))]
    return texts
