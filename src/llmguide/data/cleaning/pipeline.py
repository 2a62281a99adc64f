r"""The cleaning pipeline: stages over a stream of documents, with a report of what each dropped and why.

A stage is a function from a document to a document, the same or rewritten, or to the reason for dropping it.

Everything is deterministic: the decisions, and the dropped texts in the report, which are those with the
smallest hash of seed and id, a random sample that does not depend on their order.

Leaves out: several processes, and resuming. One core filters megabytes per second
(``python -m benchmarks.data``); beyond that, `llmguide.data.cleaning.datatrove` runs the same stages on many
machines.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from llmguide.data.cleaning import filters
from llmguide.data.cleaning.dedup import ExactDuplicates, NearDuplicates
from llmguide.data.cleaning.report import Report
from llmguide.data.documents import Document, Unread

Stage = Callable[[Document], Document | str]
Rule = Callable[[str], str | None]


@dataclass(frozen=True)
class Drop:
    """A stage made of a rule: a function from a text to None or the reason for dropping it.

    >>> Drop(lambda text: "too short" if len(text) < 5 else None)(Document("Hm.", "1", "here"))
    'too short'
    """

    rule: Rule

    def __call__(self, document: Document) -> Document | str:
        """Return the document, or the reason for dropping it."""
        return self.rule(document.text) or document


@dataclass(frozen=True)
class C4:
    """The stage of `llmguide.data.cleaning.filters.c4`, which also drops lines."""

    terminal_punctuation: bool = True

    def __call__(self, document: Document) -> Document | str:
        """Return the document with the lines kept, or the reason for dropping it."""
        text, reason = filters.c4(document.text, terminal_punctuation=self.terminal_punctuation)
        return reason or replace(document, text=text)


def fineweb_stages(store: sqlite3.Connection, decontaminate: Rule | None = None) -> dict[str, Stage]:
    """Build FineWeb's stages in its order, after text extraction (arXiv:2406.17557, section 3).

    Args:
        store: Database for the hashes that deduplication has seen.
        decontaminate: A rule of `llmguide.data.cleaning.decontaminate`, applied last.

    Returns:
        Stages by name: language, Gopher's rules, C4's without the check for end punctuation, FineWeb's own,
        exact and near duplicates.
    """
    stages: dict[str, Stage] = {
        "language": Drop(filters.language),
        "gopher repetition": Drop(filters.gopher_repetition),
        "gopher quality": Drop(filters.gopher_quality),
        "c4": C4(terminal_punctuation=False),
        "fineweb": Drop(filters.fineweb),
        "exact duplicates": Drop(ExactDuplicates(store)),
        "near duplicates": Drop(NearDuplicates(store)),
    }
    return stages | ({"decontaminate": Drop(decontaminate)} if decontaminate else {})


def process(
    documents: Iterable[Document | Unread], stages: Mapping[str, Stage], report: Report
) -> Iterator[Document]:
    """Pass documents through the stages.

    Args:
        documents: Documents and unreadable records, as `llmguide.data.documents` yields them.
        stages: Stages by name, in order. Deduplication keeps the first of a group in the order of the stream.
        report: Report for the same stages (`Report.of`), filled as the stream is consumed.

    Yields:
        Documents that all stages keep.
    """
    for item in documents:
        document = _through(item, stages, report)
        if document is not None:
            yield document


def _through(item: Document | Unread, stages: Mapping[str, Stage], report: Report) -> Document | None:
    reading, *tallies = report.tallies
    reading.seen += 1
    sampling = {"seed": report.seed, "n_examples": report.n_examples}
    if isinstance(item, Unread):
        reading.drop(item.reason, item.where, item.detail, **sampling)
        return None
    document, size = item, _size(item.text)
    reading.bytes_seen += size
    reading.bytes_kept += size
    for tally, stage in zip(tallies, stages.values(), strict=True):
        tally.seen += 1
        tally.bytes_seen += size
        result = stage(document)
        if isinstance(result, str):
            tally.drop(result, document.id, document.text, **sampling)
            return None
        if result is not document:
            document, size = result, _size(result.text)
        tally.bytes_kept += size
    return document


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
