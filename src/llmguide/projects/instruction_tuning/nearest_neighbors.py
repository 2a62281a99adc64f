"""A baseline without a model: answer as the training instructions that share the most words with a prompt.

All items of the seen types are searched, in all seen templates, with BM25. The training itself sees far fewer
of them. Every word counts, unlike in `llmguide.projects.retrieval_chatbot.bm25.terms`, because stop words say
what kind of instruction it is. The most frequent answer of the nearest neighbors wins.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from llmguide.data.cleaning.dedup import plain_words
from llmguide.projects.instruction_tuning.data import ask, shown, training_items
from llmguide.projects.retrieval_chatbot.bm25 import BM25

NEIGHBORS = (1, 3, 5, 9, 15, 31)  # numbers of neighbors that are tried


def best_neighbor_answers(
    data: str | None, held_out: Sequence[str], prompts: Sequence[str], wanted: Sequence[str]
) -> tuple[int, list[str]]:
    """Answer prompts by the nearest training instructions, as many as give the most right answers.

    The number of neighbors is the best for these very prompts, which favors this baseline.

    Args:
        data: File of instructions; None: the built-in types.
        held_out: Types that are not searched.
        prompts: Instructions to answer.
        wanted: Correct answer to each.

    Returns:
        The number of neighbors, and the answer to each prompt.
    """
    pool = [
        (ask(item, template), item.answer)
        for some in training_items(data, held_out).values()
        for item in some
        for template in shown(item.type)
    ]
    index = BM25([instruction for instruction, _ in pool], plain_words)
    nearest = [np.argsort(-index.scores(prompt), kind="stable")[: max(NEIGHBORS)] for prompt in prompts]
    answers = {n: [_vote([pool[i][1] for i in rows[:n]]) for rows in nearest] for n in NEIGHBORS}
    best = max(NEIGHBORS, key=lambda n: sum(a == b for a, b in zip(answers[n], wanted, strict=True)))
    return best, answers[best]


def _vote(answers: Sequence[str]) -> str:
    return Counter(answers).most_common(1)[0][0]  # of several, that of the nearest
