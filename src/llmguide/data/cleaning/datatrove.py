"""The cleaning stages on many machines, as blocks of datatrove, the library that made FineWeb.

`StageFilter` turns a stage of `llmguide.data.cleaning.pipeline` into a filter of datatrove, and
`minhash_pipelines` lists the four steps of its MinHash deduplication, which sorts signatures on disk, so it
needs no shared lookup table. Any executor of datatrove runs them: ``LocalPipelineExecutor`` on one machine,
and ``SlurmPipelineExecutor`` or ``RayPipelineExecutor`` on a cluster, with the same list of blocks:

    cluster = {"time": "10:00:00", "partition": "cpu"}
    blocks = [JsonlReader("crawl/"), *stage_filters(stages), JsonlWriter("filtered/")]
    last = SlurmPipelineExecutor(
        job_name="filter", pipeline=blocks, tasks=1000, logging_dir="logs/filter", **cluster
    )
    for name, (blocks, tasks) in minhash_pipelines("filtered/", "work/", "rest/", tasks=1000).items():
        last = SlurmPipelineExecutor(
            job_name=name, pipeline=blocks, tasks=tasks, logging_dir=f"logs/{name}", depends=last, **cluster
        )
    last.run()  # runs first what it depends on

Differences from one process: near duplicates are removed by connected group, and which one of a group is kept
depends on the sizes of partial groups, not on the order. Exact duplicates fall out there too, as all their
bands agree. Stages with a state (`llmguide.data.cleaning.dedup`) would see the documents of one task only;
leave them out.

Texts are split into words by `llmguide.data.cleaning.filters.words`, not by spaCy as in datatrove.

Needs ``llmguide[data]``.
"""

from collections.abc import Iterator, Mapping

try:
    from datatrove.data import Document as TroveDocument
    from datatrove.pipeline.base import PipelineStep
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.filters.base_filter import BaseFilter
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter
    from datatrove.utils.hashing import HashConfig
    from datatrove.utils.word_tokenizers import WordTokenizer
except ModuleNotFoundError as error:
    raise ModuleNotFoundError('cleaning at scale needs datatrove: pip install "llmguide[data]"') from error

from llmguide.data.cleaning import filters
from llmguide.data.cleaning.dedup import BANDS, NGRAM, ROWS
from llmguide.data.cleaning.pipeline import Stage
from llmguide.data.documents import Document


class StageFilter(BaseFilter):  # type: ignore[misc]  # datatrove is untyped
    """A stage as a block of datatrove; reasons are its statistics ``dropped_<reason>``.

    Args:
        name: Name of the stage.
        stage: Stage to run. To run in another process it must be picklable, such as functions and classes at
            the top level of a module.

    >>> from llmguide.data.cleaning.pipeline import Drop
    >>> block = StageFilter("fineweb", Drop(filters.fineweb))
    >>> block.filter(TroveDocument("Home", "1"))
    (False, 'fineweb: lines without end punctuation')
    """

    def __init__(self, name: str, stage: Stage) -> None:
        super().__init__()
        self.name = name
        self.stage = stage

    def filter(self, doc: TroveDocument) -> bool | tuple[bool, str]:
        """Return True, after rewriting the text if the stage does, or False and the reason."""
        result = self.stage(Document(doc.text, str(doc.id), ""))
        if isinstance(result, str):
            return False, result
        doc.text = result.text
        return True


def stage_filters(stages: Mapping[str, Stage]) -> list[StageFilter]:
    """Turn stages into blocks of datatrove.

    >>> from llmguide.data.cleaning.pipeline import C4, Drop
    >>> [b.name for b in stage_filters({"c4": C4(), "fineweb": Drop(filters.fineweb)})]
    ['c4', 'fineweb']
    """
    return [StageFilter(name, stage) for name, stage in stages.items()]


class Words(WordTokenizer):  # type: ignore[misc]  # datatrove is untyped
    """Our word and sentence tokenizer for datatrove's blocks; pass it as their ``language``."""

    def word_tokenize(self, text: str) -> list[str]:
        """Split a text into words and punctuation."""
        return filters.words(text)

    def sent_tokenize(self, text: str) -> list[str]:
        """Split a text into sentences without surrounding space."""
        return [sentence.strip() for sentence in filters.sentences(text)]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        """Return the span of each sentence, with the space after it."""
        return list(_spans(filters.sentences(text)))


def _spans(parts: list[str]) -> Iterator[tuple[int, int]]:
    start = 0
    for part in parts:
        yield start, start + len(part)
        start += len(part)


def minhash_pipelines(
    source: str, work: str, output: str, *, tasks: int, bands: int = BANDS, rows: int = ROWS, n: int = NGRAM
) -> dict[str, tuple[list[PipelineStep], int]]:
    """Build the four pipelines of datatrove's MinHash deduplication; each needs all output of the last.

    Args:
        source: Folder of JSON Lines with ``text``, local or any URL that fsspec reads. The first and the last
            pipeline must see the same number of files.
        work: Folder for signatures and pairs.
        output: Folder for the remaining documents.
        tasks: Number of tasks of the first and the last pipeline.
        bands: Number of bands of a signature.
        rows: Number of rows of a band.
        n: Number of words of an n-gram.

    Returns:
        The blocks and the number of tasks of each pipeline, by name.
    """
    # its default, xxhash, accepts no strings from version 4 on
    sha1 = HashConfig(precision=64, hash_fc="sha1")
    config = MinhashConfig(n_grams=n, num_buckets=bands, hashes_per_bucket=rows, hash_config=sha1)
    signatures, pairs, removed = (f"{work}/{name}" for name in ("signatures", "pairs", "removed"))
    return {
        "signatures": (
            [JsonlReader(source), MinhashDedupSignature(signatures, config=config, language=Words())],
            tasks,
        ),
        "pairs": ([MinhashDedupBuckets(signatures, pairs, config=config)], bands),
        "groups": ([MinhashDedupCluster(pairs, removed, config=config)], 1),
        "rest": ([JsonlReader(source), MinhashDedupFilter(removed), JsonlWriter(output)], tasks),
    }
