"""The index: passages and their vectors in a vector store, Qdrant, which finds the nearest ones.

Given a folder, Qdrant's client is the store: it writes each point to SQLite in a transaction of its own, and
a query is compared with every point. A server, given by its URL, takes queries from many processes and, past
some tens of thousands of passages, searches an approximate index (HNSW; Malkov & Yashunin 2016,
arXiv:1603.09320).

The name of a collection is a hash of all settings that its vectors depend on, so vectors of two models are
never compared. Passages that a killed run has indexed are kept; the next run adds the missing ones.

The client stores its points as pickles, which could run code. `llmguide.training.pickles` reads them and
refuses everything but points, so a folder that somebody else made is safe to open.
"""

import pickle
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from llmguide.extras import import_extra
from llmguide.projects.retrieval_chatbot.chunks import Chunk
from llmguide.training import pickles

BATCH = 64  # passages embedded and stored at a time: the most work that a kill loses
_PAGE = 1000  # passages read from the store at a time


class Hit(NamedTuple):
    """A retrieved passage and its score."""

    chunk: Chunk
    score: float


class Index:
    """One collection of a vector store.

    Args:
        where: Folder of the store, or URL of a server, such as ``http://localhost:6333``.
        choices: All settings that passages and vectors depend on.
        width: Dimension of the vectors.

    Raises:
        ModuleNotFoundError: The store's client is not installed.
        RuntimeError: Another process has the folder open.
        ConnectionError: No server answers at the URL.
        ValueError: A file of the folder holds more than points.
    """

    def __init__(self, where: str | Path, choices: Sequence[object], width: int) -> None:
        self._models = _library().models
        self.name = f"llmguide-{sha256(repr(tuple(choices)).encode()).hexdigest()[:16]}"
        is_server = str(where).startswith(("http://", "https://"))
        self._client = _library().QdrantClient(**{"url" if is_server else "path": str(where)})
        failed = import_module("qdrant_client.http.exceptions").ApiException
        try:
            if not self._client.collection_exists(self.name):
                vectors = self._models.VectorParams(size=width, distance=self._models.Distance.COSINE)
                self._client.create_collection(self.name, vectors_config=vectors)
        except failed as error:
            raise ConnectionError(f"no Qdrant server answers at {where}: {error}") from error

    def add(
        self, chunks: Sequence[Chunk], embed: Callable[[list[str]], Float[Tensor, "N D"]]
    ) -> Iterator[int]:
        """Embed and store new passages, and remove those that the documents no longer have.

        Yields:
            The number of stored passages, after each batch.
        """
        known = set(self.chunks())
        if gone := known.difference(chunks):
            self._client.delete(self.name, points_selector=[_number(chunk) for chunk in gone])
        missing = [chunk for chunk in chunks if chunk not in known]
        for first in range(0, len(missing), BATCH):
            part = missing[first : first + BATCH]
            vectors = embed([chunk.titled for chunk in part]).tolist()
            points = [
                self._models.PointStruct(id=_number(chunk), vector=vector, payload=chunk._asdict())
                for chunk, vector in zip(part, vectors, strict=True)
            ]
            self._client.upsert(self.name, points=points)
            yield len(known) - len(gone) + first + len(part)

    def chunks(self) -> list[Chunk]:
        """Return all passages, in the order of their documents."""
        found: list[Chunk] = []
        offset: Any = None
        while True:
            page, offset = self._client.scroll(self.name, limit=_PAGE, offset=offset)
            found += [Chunk(**record.payload) for record in page]
            if offset is None:
                return sorted(found)

    def search(self, vector: Float[Tensor, " D"], k: int) -> list[Hit]:
        """Return the k passages with the largest cosine, nearest first."""
        answer = self._client.query_points(self.name, query=vector.tolist(), limit=k)
        return [Hit(Chunk(**point.payload), point.score) for point in answer.points]

    def close(self) -> None:
        """Release the folder, or close the connection."""
        self._client.close()


def _number(chunk: Chunk) -> str:
    """Make the id of a point; Qdrant takes only numbers and UUIDs."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, chunk.id))


def _library() -> Any:
    library = import_extra("qdrant_client", "apps", "the index")
    loads = partial(pickles.loads, allowed={"qdrant_client.http.models.models.PointStruct"})
    persistence: Any = import_module("qdrant_client.local.persistence")
    persistence.pickle = SimpleNamespace(dumps=pickle.dumps, loads=loads)
    return library
