r"""Hybrid search: passages ranked by words (BM25), by meaning (embeddings), and by both, fused.

BM25 scores and cosines are on different scales, so their ranks are combined. Reciprocal rank fusion gives a
passage

$$s(d) = \sum_{r \in \{\text{words}, \text{meaning}\}} \frac{1}{60 + r(d)}$$

where $r(d)$ is its rank, from 1, in each ranking that lists it.

Reference: Cormack, Clarke & Buettcher 2009, "Reciprocal rank fusion outperforms Condorcet and individual rank
learning methods", with its constant 60.

Leaves out: a reranker, a model that reads question and passage together and reorders the first few.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from llmguide.projects.retrieval_chatbot.bm25 import BM25
from llmguide.projects.retrieval_chatbot.chunks import Chunk
from llmguide.projects.retrieval_chatbot.embed import Embedder
from llmguide.projects.retrieval_chatbot.vector_store import Hit, Index

Way = Literal["words", "meaning", "both"]
DEPTH = 50  # passages taken from each ranking for the fusion
RRF = 60


class WordSearch:
    """Ranks passages by BM25."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self.chunks = chunks
        self._bm25 = BM25([chunk.titled for chunk in chunks])

    def __call__(self, question: str, k: int) -> list[Hit]:
        """Return the k best passages that share a word with the question, best first."""
        scores = self._bm25.scores(question)
        order = np.argsort(-scores, kind="stable")[:k]
        return [Hit(self.chunks[i], float(scores[i])) for i in order if scores[i] > 0]


class Search:
    """Ranks the passages of an index by words, by meaning, or by both."""

    def __init__(self, index: Index, embedder: Embedder) -> None:
        self.index, self.embedder = index, embedder
        self.chunks = index.chunks()
        self._by_words = WordSearch(self.chunks)

    def __call__(self, question: str, k: int, way: Way = "both") -> list[Hit]:
        """Return the k best passages, best first.

        Args:
            question: Question or query in any words.
            k: Number of passages; at most `DEPTH` if both rankings are fused.
            way: Ranking by words (BM25 score), by meaning (cosine of the vectors), or both (fused reciprocal
                ranks).
        """
        by: dict[str, Callable[[str, int], list[Hit]]] = {
            "words": self._by_words,
            "meaning": self._by_meaning,
        }
        if way != "both":
            return by[way](question, k)
        return fuse([rank(question, DEPTH) for rank in by.values()])[:k]

    def nearest(self, question: str) -> float:
        """Return the cosine of a question and the nearest passage."""
        found = self._by_meaning(question, 1)
        return found[0].score if found else -1.0

    def _by_meaning(self, question: str, k: int) -> list[Hit]:
        return self.index.search(self.embedder([question])[0], k)


def fuse(rankings: Sequence[Sequence[Hit]]) -> list[Hit]:
    """Merge rankings by reciprocal rank fusion.

    >>> a, b, c = (Chunk(name, "", 0, 1, name) for name in "abc")
    >>> merged = fuse([[Hit(a, 9.0), Hit(b, 8.0)], [Hit(b, 0.5), Hit(c, 0.4)]])
    >>> [found.chunk.text for found in merged]  # b: 1/62 + 1/61; a: 1/61; c: 1/62
    ['b', 'a', 'c']
    """
    scores: dict[Chunk, float] = defaultdict(float)
    for ranking in rankings:
        for rank, found in enumerate(ranking, start=1):
            scores[found.chunk] += 1 / (RRF + rank)
    return sorted((Hit(chunk, score) for chunk, score in scores.items()), key=lambda found: -found.score)
