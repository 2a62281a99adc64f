"""Score the answers to both tasks, and those of simple baselines."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from llmguide.evaluation.metrics import bleu, rouge
from llmguide.projects.analysis.bootstrap import cluster_bootstrap_interval
from llmguide.projects.fine_tuning.data import Example, first_line, from_name, naive_bayes, words

CLASSIFY, SUMMARIZE = "age", "summary"
FULL = "all weights"
N_SHOWN = 4  # answers in the record


def score_completions(
    name: str, test: Sequence[Example], answers: dict[str, list[str]], trained: list[str]
) -> dict[str, Any]:
    """Score answers, and compare every LoRA with full fine-tuning on the same examples."""
    groups, targets = [example.group for example in test], [example.target for example in test]
    score: Callable[[str, str], float] = (lambda a, b: float(a == b)) if name == CLASSIFY else _rouge_l
    scores = {
        system: [score(a, b) for a, b in zip(texts, targets, strict=True)]
        for system, texts in answers.items()
    }
    systems: dict[str, Any] = {
        system: cluster_bootstrap_interval(values, groups)._asdict() for system, values in scores.items()
    }
    if name == SUMMARIZE:
        for system, texts in answers.items():
            copied = [copied_fraction(a, example.source) for a, example in zip(texts, test, strict=True)]
            systems[system] |= rouge(texts, targets) | {
                "bleu": bleu(texts, targets),
                "copied": float(np.mean(copied)),
            }
    differences = {
        method: cluster_bootstrap_interval(
            np.subtract(scores[method], scores[FULL]).tolist(), groups
        )._asdict()
        for method in trained
        if method != FULL
    }
    shown = [
        {
            "source": test[i].source[:120],
            "wanted": targets[i],
            **{method: answers[method][i] for method in trained},
        }
        for i in range(min(N_SHOWN, len(test)))
    ]
    return {"systems": systems, "differences": differences, "shown": shown}


def copied_fraction(text: str, source: str) -> float:
    """Return the fraction of the words of a text that occur in its source.

    >>> copied_fraction("Return the next line.", "def next_line(self): return self.x")
    0.75
    """
    source_words = set(words(source.replace("_", " ")))
    text_words = words(text)
    return sum(word in source_words for word in text_words) / max(1, len(text_words))


def baselines(name: str, train_side: Sequence[Example], test: Sequence[Example]) -> dict[str, list[str]]:
    """Return the answers of the baselines of a task."""
    sources = [example.source for example in test]
    if name == CLASSIFY:
        answers = [example.target for example in train_side]
        often, by_count = max(set(answers), key=answers.count), naive_bayes(train_side)
        return {
            "the most frequent answer": [often] * len(test),
            "words (naive Bayes)": list(map(by_count, sources)),
        }
    return {
        "the first line": list(map(first_line, sources)),
        "a template": list(map(from_name, sources)),
    }


def _rouge_l(text: str, target: str) -> float:
    return rouge([text], [target])["rougeL"]
