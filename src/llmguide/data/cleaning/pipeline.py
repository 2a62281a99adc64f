r"""The cleaning pipeline: stages over a stream of documents, with a report of what each dropped and why.

A stage is a function from a document to a document, the same or rewritten, or to the reason for dropping it.
`process` returns the stream; `run` writes it to a JSON Lines file and is resumable: every `every` documents,
the position in the input, the length of the output, the report and the state of deduplication are committed
together, in one transaction of an SQLite file beside the output. After a kill, the output is truncated to the
committed length and reading continues from the committed position, so the result has the same bytes.

Everything is deterministic: the order of the files, the decisions, and the dropped texts in the report, which
are those with the smallest hash of seed and id, a random sample that does not depend on their order.

Memory: one document, SQLite's cache, and the state of the stages. Leaves out: several processes. One core
filters megabytes per second (``python -m benchmarks.data``); beyond that, `llmguide.data.cleaning.datatrove`
runs the same stages on many machines.
"""

import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from llmguide.data.cleaning import filters
from llmguide.data.cleaning.dedup import ExactDuplicates, NearDuplicates
from llmguide.data.cleaning.report import Report
from llmguide.data.documents import Document, Unread, find_files, read_file
from llmguide.extras import import_extra
from llmguide.files import put

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


def run(
    paths: str | Path | Iterable[str | Path],
    stages: Callable[[sqlite3.Connection], Mapping[str, Stage]],
    output: str | Path,
    *,
    text_field: str = "text",
    seed: int = 0,
    every: int = 1000,
    progress: bool | None = None,
) -> Report:
    """Read files, pass the documents through stages, and write the rest; resumes an interrupted call.

    Args:
        paths: Files and folders, as in `llmguide.data.documents.read`.
        stages: Function that builds the stages from the SQLite connection for those with a state, such as
            `fineweb_stages`.
        output: File of JSON Lines with ``text``, ``id`` and ``source``. While incomplete, its name ends in
            ``.part``. The state is in ``<output>.state``; with it, a call for a finished output returns the
            report immediately.
        text_field: Key or column that holds the text.
        seed: Seed of the sample of dropped documents.
        every: Number of documents between commits, at least 1; at most these are processed again after a
            kill.
        progress: Whether to show a progress bar; None: if standard error is a terminal.

    Returns:
        The report on all documents, including those before an interruption.

    Raises:
        ValueError: The state beside the output belongs to other files, stages or options.

    >>> from tempfile import mkdtemp
    >>> folder = Path(mkdtemp())
    >>> (folder / "a.txt").write_text("Again."), (folder / "b.txt").write_text("Again.")
    (6, 6)
    >>> report = run(folder, lambda store: {"exact": Drop(ExactDuplicates(store))}, folder / ".out.jsonl")
    >>> [(row["stage"], row["kept"], row["reasons"]) for row in report.rows()]
    [('read', 2, ''), ('exact', 1, 'exact duplicate 1')]
    """
    output = Path(output)
    files = find_files(paths)
    part, state = (output.with_name(output.name + end) for end in (".part", ".state"))
    with closing(sqlite3.connect(state)) as store:
        store.execute("PRAGMA cache_size = -65536")
        store.execute(
            "CREATE TABLE IF NOT EXISTS progress (id INTEGER PRIMARY KEY CHECK (id = 0), state TEXT)"
        )
        made = stages(store)
        sizes = [path.stat().st_size for path in files]
        identity = [[str(path) for path in files], sizes, list(made), text_field, seed]
        at = _Progress.load(store) or _Progress(identity, Report.of(made, seed=seed))
        if at.identity != identity:
            raise ValueError(
                f"{state} is of a run with other files, stages, text_field or seed; delete it to start again"
            )
        if not at.done:
            part.touch()
            with part.open("r+b") as out, _bar(progress, sizes) as show:
                out.truncate(at.length)
                out.seek(at.length)
                for n_since, document in enumerate(_rest(files, made, at, text_field), 1):
                    if document is not None:
                        line = json.dumps(asdict(document), ensure_ascii=False)
                        out.write(line.encode() + b"\n")
                    if n_since % every == 0:
                        at.commit(out, store)
                        show(at)
                at.done = True
                at.commit(out, store)
        if part.exists():
            put(part, output)
        return at.report


@dataclass
class _Progress:
    identity: list[Any]
    report: Report
    file: int = 0
    item: int = 0
    """Documents and unread things of this file that are done."""
    length: int = 0
    """Bytes of the output."""
    done: bool = False

    @classmethod
    def load(cls, store: sqlite3.Connection) -> "_Progress | None":
        row = store.execute("SELECT state FROM progress").fetchone()
        if row is None:
            return None
        fields = json.loads(row[0])
        return cls(**{**fields, "report": Report.from_json(fields["report"])})

    def commit(self, out: BinaryIO, store: sqlite3.Connection) -> None:
        """Sync the output to disk before committing the state that refers to it."""
        out.flush()
        os.fsync(out.fileno())
        self.length = out.tell()
        state = json.dumps({**vars(self), "report": self.report.to_json()})
        store.execute("INSERT OR REPLACE INTO progress VALUES (0, ?)", (state,))
        store.commit()


def _rest(
    files: list[Path], stages: Mapping[str, Stage], at: _Progress, text_field: str
) -> Iterator[Document | None]:
    """Yield the documents after the position, and None for dropped ones, advancing the position."""
    while at.file < len(files):
        for item in islice(read_file(files[at.file], text_field=text_field), at.item, None):
            document = _through(item, stages, at.report)
            at.item += 1
            yield document
        at.file, at.item = at.file + 1, 0


@contextmanager
def _bar(show: bool | None, sizes: list[int]) -> Iterator[Callable[[_Progress], None]]:
    """Make a progress bar over the bytes of the files, each counted when it is finished."""
    if not (sys.stderr.isatty() if show is None else show):
        yield lambda at: None
        return
    rich = import_extra("rich.progress", "cli", "the progress bar")
    console = import_extra("rich.console", "cli", "the progress bar").Console(stderr=True)
    columns = (
        *(rich.TextColumn("file {task.fields[file]}"), rich.BarColumn()),
        *(rich.TextColumn("{task.description}"), rich.TimeElapsedColumn()),
    )
    with rich.Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=sum(sizes), file=f"0/{len(sizes)}")

        def update(at: _Progress) -> None:
            first, last = at.report.tallies[0], at.report.tallies[-1]
            progress.update(
                task,
                completed=sum(sizes[: at.file]),
                file=f"{at.file}/{len(sizes)}",
                description=f"{first.seen:,} documents, {last.kept:,} kept, {last.bytes_kept / 1e6:,.1f} MB",
            )

        yield update
