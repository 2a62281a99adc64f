r"""Search: two rankings of the passages, by words and by meaning, and the two together.

Scores of BM25 and cosines cannot be added, ranks can. Reciprocal rank fusion gives a passage

$$s(d) = \sum_{r \in \{\text{words}, \text{meaning}\}} \frac{1}{60 + r(d)}$$

with its rank $r(d)$, from 1, in each ranking that has it among its first.

Reference: Cormack, Clarke & Buettcher 2009, "Reciprocal rank fusion outperforms Condorcet and individual rank
learning methods", with its constant 60.

Leaves out: a model that reads question and passage together and sorts the first few again (a reranker).
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from llmguide.projects.retrieval_chatbot.bm25 import BM25
from llmguide.projects.retrieval_chatbot.chunks import Chunk
from llmguide.projects.retrieval_chatbot.embed import Embedder
from llmguide.projects.retrieval_chatbot.vector_store import Found, Index

Way = Literal["words", "meaning", "both"]
DEPTH = 50  # passages of each ranking that are fused
RRF = 60


class WordSearch:
    """Ranks passages by the words that they share with a question.

    Args:
        chunks: The passages.
    """

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self.chunks = chunks
        self._bm25 = BM25([chunk.titled for chunk in chunks])

    def __call__(self, question: str, k: int) -> list[Found]:
        """Return the k best that share a word, the best first."""
        scores = self._bm25.scores(question)
        order = np.argsort(-scores, kind="stable")[:k]
        return [Found(self.chunks[i], float(scores[i])) for i in order if scores[i] > 0]


class Search:
    """Ranks the passages of an index.

    Args:
        index: Holds them.
        embedder: Embedding model that made their vectors.
    """

    def __init__(self, index: Index, embedder: Embedder) -> None:
        self.index, self.embedder = index, embedder
        self.chunks = index.chunks()
        self._by_words = WordSearch(self.chunks)

    def __call__(self, question: str, k: int, way: Way = "both") -> list[Found]:
        """Return the k best passages, the best first.

        Args:
            question: Any text.
            k: At most `DEPTH` for both together.
            way: By words (BM25), by meaning (cosine of vectors), or both; the scores are of that kind.
        """
        by: dict[str, Callable[[str, int], list[Found]]] = {
            "words": self._by_words,
            "meaning": self._by_meaning,
        }
        if way != "both":
            return by[way](question, k)
        return fuse([rank(question, DEPTH) for rank in by.values()])[:k]

    def nearest(self, question: str) -> float:
        """Return the largest cosine of a question and a passage."""
        found = self._by_meaning(question, 1)
        return found[0].score if found else -1.0

    def _by_meaning(self, question: str, k: int) -> list[Found]:
        return self.index.search(self.embedder([question])[0], k)


def fuse(rankings: Sequence[Sequence[Found]]) -> list[Found]:
    """Merge rankings by their reciprocal ranks.

    >>> a, b, c = (Chunk(name, "", 0, 1, name) for name in "abc")
    >>> merged = fuse([[Found(a, 9.0), Found(b, 8.0)], [Found(b, 0.5), Found(c, 0.4)]])
    >>> [found.chunk.text for found in merged]  # b: 1/62 + 1/61; a: 1/61; c: 1/62
    ['b', 'a', 'c']
    """
    scores: dict[Chunk, float] = defaultdict(float)
    for ranking in rankings:
        for rank, found in enumerate(ranking, start=1):
            scores[found.chunk] += 1 / (RRF + rank)
    return sorted((Found(chunk, score) for chunk, score in scores.items()), key=lambda found: -found.score)
