r"""A reranker: it learns from votes which sentences of the retrieved passages answer a question.

Each sentence $s$ of the first `N_READ` passages has a vector of features $x_s$: how near it and its passage
are to the question, and how many words they share. The probability that it answers the question is logistic,
and a user likes an answer if at least one of its sentences does (noisy-or):

$$p_s = \sigma(w \cdot x_s + b), \qquad P(\text{like}) = 1 - \prod_{s \in \text{answer}} (1 - p_s)$$

The weights minimize the cross-entropy of the votes plus $\frac12 \lVert w \rVert^2$. So a vote on a whole
answer trains the scores of its sentences. The bot then reads and quotes the sentences with the highest $p_s$.

References: Joachims 2002, "Optimizing search engines using clickthrough data" (rankings that learn from
users); Pearl 1988, "Probabilistic reasoning in intelligent systems", section 4.3.2 (noisy-or).

Leaves out: a cross-encoder, which reads question and passage together; it needs more votes than nine weights.
"""

from collections.abc import Sequence
from math import log
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from llmguide.projects.retrieval_chatbot.answer import N_PASSAGES, quotable
from llmguide.projects.retrieval_chatbot.bm25 import terms
from llmguide.projects.retrieval_chatbot.chunks import Chunk
from llmguide.projects.retrieval_chatbot.search import DEPTH, Search

N_ATTEMPTS = 4  # answers to one question, each from the next passages
N_READ = N_ATTEMPTS * N_PASSAGES  # passages whose sentences are candidates
FEATURES = (
    "cosine of the sentence",
    "cosine of the nearer neighbor",
    "cosine of the passage",
    "BM25 of the passage, relative to the best",
    "fraction of the question's words in the sentence",
    "fraction of the question's words in the passage",
    "reciprocal rank of the passage",
    "log length of the sentence",
)


class Candidate(NamedTuple):
    """A sentence that an answer may quote.

    Attributes:
        passage: Passage that contains it.
        text: Text of the sentence.
        features: Values of `FEATURES`.
    """

    passage: Chunk
    text: str
    features: tuple[float, ...]


class Reranker(NamedTuple):
    """Weights of the logistic model; features are standardized before.

    Attributes:
        weights: Weight of each feature.
        bias: Log-odds at average features.
        mean: Mean of each feature over the sentences that were voted on.
        deviation: Standard deviation of each feature over them.
    """

    weights: list[float]
    bias: float
    mean: list[float]
    deviation: list[float]

    def __call__(self, candidates: Sequence[Candidate]) -> list[float]:
        """Return the log-odds that each candidate answers the question."""
        x = _matrix([candidate.features for candidate in candidates])
        x = (x - torch.tensor(self.mean).double()) / torch.tensor(self.deviation).double()
        return (x @ torch.tensor(self.weights).double() + self.bias).tolist()


def find_candidates(search: Search, question: str) -> list[Candidate]:
    """Return the sentences of the first `N_READ` passages that can be quoted, in the order of the ranking."""
    passages = [hit.chunk for hit in search(question, N_READ)]
    cosines = {hit.chunk: hit.score for hit in search(question, DEPTH, "meaning")}
    scores = {hit.chunk: hit.score for hit in search(question, DEPTH, "words")}
    farthest, best = min(cosines.values(), default=0.0), max(scores.values(), default=1.0)
    known, asked = quotable(passages), set(terms(question))
    if not known:
        return []
    vectors = search.embedder([question, *(text for _, text in known)])
    near = [-1.0, *(vectors[1:] @ vectors[0]).tolist(), -1.0]
    numbers = [0, *(number for number, _ in known), 0]
    found = []
    for i, (number, text) in enumerate(known, start=1):
        passage = passages[number - 1]
        beside = [near[j] for j in (i - 1, i + 1) if numbers[j] == number]
        features = (
            near[i],
            max(beside, default=near[i]),
            cosines.get(passage, farthest),
            scores.get(passage, 0.0) / best,
            _shared(asked, text),
            _shared(asked, passage.titled),
            1 / number,
            log(len(text)),
        )
        found.append(Candidate(passage, text, features))
    return found


def best_passages(candidates: Sequence[Candidate], scores: Sequence[float]) -> list[Chunk]:
    """Order the passages of candidates by the score of their best sentence.

    >>> a, b = (Chunk(name, "", 0, 1, name) for name in "ab")
    >>> found = best_passages([Candidate(a, "", ()), Candidate(a, "", ()), Candidate(b, "", ())], [0, 2, 1])
    >>> [passage.text for passage in found]
    ['a', 'b']
    """
    order = sorted(range(len(candidates)), key=lambda i: -scores[i])
    return list(dict.fromkeys(candidates[i].passage for i in order))


def fit(answers: Sequence[Sequence[Sequence[float]]], liked: Sequence[bool]) -> Reranker:
    """Fit a reranker to votes.

    Args:
        answers: For each vote, the features of each sentence that was quoted.
        liked: For each vote, whether the user liked the answer.

    Raises:
        ValueError: The votes are all the same.

    >>> up, down = [0.9] + [0.0] * 7, [0.1] + [0.0] * 7
    >>> reranker = fit([[up], [down], [up, down], [down, down]], [True, False, True, False])
    >>> reranker.weights[0] > 0, [round(weight, 6) for weight in reranker.weights[1:]] == [0.0] * 7
    (True, True)
    """
    if len(set(liked)) < 2:
        raise ValueError(
            f"{len(liked)} votes that are all the same teach nothing: collect likes and dislikes"
        )
    x = _matrix([features for answer in answers for features in answer])
    mean, deviation = x.mean(0), x.std(0, correction=0)
    deviation[deviation < 1e-6] = 1.0  # a constant feature
    x = (x - mean) / deviation
    rows = torch.tensor([i for i, answer in enumerate(answers) for _ in answer])
    target = torch.tensor(liked)
    weights = torch.zeros(x.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        not_right = torch.nn.functional.logsigmoid(-(x @ weights[:-1] + weights[-1]))  # log(1 - p)
        disliked = torch.zeros(len(answers), dtype=torch.float64).index_add(0, rows, not_right)
        likelihood = torch.where(target, torch.log(-torch.expm1(disliked.clamp(max=-1e-12))), disliked)
        total = -likelihood.sum() + weights[:-1].square().sum() / 2
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    *found, bias = weights.tolist()
    return Reranker(found, bias, mean.tolist(), deviation.tolist())


def _matrix(rows: Sequence[Sequence[float]]) -> Float[Tensor, "N F"]:
    return torch.tensor(rows, dtype=torch.float64).reshape(len(rows), len(FEATURES))


def _shared(asked: set[str], text: str) -> float:
    return len(asked & set(terms(text))) / max(1, len(asked))
