r"""Chunking: documents split into the passages that are searched, shown and cited.

A chunk is a slice of its document, so a citation is two offsets, and its text can be checked character by
character. A long chunk covers many topics, and its vector is their mean; a short one lacks context. `cut`
therefore follows the structure of the text: it never crosses a heading, and splits a section that is too long
between its paragraphs (preferably before one that is not indented), else between its lines, else between its
words. `windows` ignores the structure and is the baseline.

Leaves out: splitting at sentences, and two levels of chunks (small ones to search, large ones to read).

Glossary: section, the text under a heading; overlap, the text that two neighboring chunks share.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from llmguide.data.documents import Document

# Headings of reStructuredText, underlined at least as long as they are, and of Markdown. Code between fences
# comes first, since its comments look like headings.
_MARKS = re.compile(
    r"^(?P<fence>```|~~~).*?^(?P=fence)"
    r"|^(?P<title>\S[^\n]*)\n(?P<line>(?P<style>[*=~^-])(?P=style)*)$"
    r"|^(?P<hashes>\#{1,6}) +(?P<text>[^\n]+)$",
    re.MULTILINE | re.DOTALL,
)
_BORDERS = tuple(map(re.compile, (r"\n\s*\n(?=\S)", r"\n\s*\n", r"\n", r"\s")))  # best border first
_BEGINNINGS = tuple(map(re.compile, (r"\n", r"\s")))  # borders of an overlap


class Chunk(NamedTuple):
    """A passage of a document.

    Attributes:
        document: Id of the document.
        title: Headings above it, the outermost first.
        start: Position of its first character in the document.
        stop: Position after its last character.
        text: Text of the passage.
    """

    document: str
    title: str
    start: int
    stop: int
    text: str

    @property
    def id(self) -> str:
        """Id of the chunk, unique among the documents."""
        return f"{self.document}#{self.start}-{self.stop}"

    @property
    def titled(self) -> str:
        """The text below its title, unless the text begins with the title."""
        outer, _, last = self.title.rpartition(" > ")
        above = outer if self.text.startswith(last) else self.title
        return f"{above}\n{self.text}" if above else self.text


class Section(NamedTuple):
    """Part of a text, from one heading to the next."""

    title: str
    start: int
    stop: int


def cut(document: Document, size: int = 800, overlap: int = 100) -> Iterator[Chunk]:
    r"""Split a document along its structure.

    Args:
        document: Document to split.
        size: Most characters of a chunk.
        overlap: Most characters from the end of a chunk that the next one of the same section repeats.

    Yields:
        Chunks in the order of the text, without blank lines around them.

    Raises:
        ValueError: The size is below 1, or the overlap is not between 0 and a quarter of it.

    >>> text = "Fruit\n=====\n\nApples.\n\nPears.\n\nRoots\n=====\n\nBeets."
    >>> [(chunk.title, chunk.text) for chunk in cut(Document(text, "food", ""), size=24, overlap=0)]
    [('Fruit', 'Fruit\n=====\n\nApples.'), ('Fruit', 'Pears.'), ('Roots', 'Roots\n=====\n\nBeets.')]
    """
    _require(size, overlap)
    text = document.text
    for section in sections(text):
        start = section.start
        while start < section.stop:
            stop = section.stop
            if stop - start > size:
                stop = _last(_BORDERS, text, start + size // 2, start + size)
            yield from _chunk(document, section.title, start, stop)
            if stop == section.stop:
                break
            # a chunk is longer than half the size, so the next one starts after the start of this one
            start = _first(_BEGINNINGS, text, stop - overlap, stop) if overlap else stop


def windows(document: Document, size: int = 800, overlap: int = 100) -> Iterator[Chunk]:
    """Split a document into windows of a fixed number of characters, wherever the borders fall.

    >>> [chunk.text for chunk in windows(Document("abcdefgh", "", ""), size=4, overlap=1)]
    ['abcd', 'defg', 'gh']
    """
    _require(size, overlap)
    for start in range(0, max(1, len(document.text) - overlap), size - overlap):
        yield from _chunk(document, "", start, min(start + size, len(document.text)))


def distinct(chunks: Iterable[Chunk]) -> list[Chunk]:
    """Drop passages whose text occurred before: documents repeat each other.

    >>> [chunk.document for chunk in distinct(Chunk(name, "", 0, 4, "text") for name in "ab")]
    ['a']
    """
    kept: dict[str, Chunk] = {}
    for chunk in chunks:
        kept.setdefault(chunk.text, chunk)
    return list(kept.values())


def sections(text: str) -> Iterator[Section]:
    r"""Split a text at its headings; together the sections are the text.

    As in reStructuredText, the level of a heading follows from the order in which the underline styles
    appear.

    >>> [section.title for section in sections("Intro.\n\nA\n=\n\nB\n-\n\nC\n=\n")]
    ['', 'A', 'A > B', 'C']
    """
    styles: list[str] = []
    path: list[str] = []
    start = 0
    for mark in _MARKS.finditer(text):
        underlined = mark["title"] is not None and len(mark["line"]) >= len(mark["title"].rstrip())
        if not underlined and mark["hashes"] is None:
            continue
        if mark.start() > start:
            yield Section(" > ".join(path), start, mark.start())
        style = mark["style"] or mark["hashes"]
        if style not in styles:
            styles.append(style)
        path = [*path[: styles.index(style)], (mark["title"] or mark["text"]).strip()]
        start = mark.start()
    if start < len(text):
        yield Section(" > ".join(path), start, len(text))


def _chunk(document: Document, title: str, start: int, stop: int) -> Iterator[Chunk]:
    """Strip blank lines but keep indentation; yield nothing for a blank slice."""
    text = document.text[start:stop]
    start += len(text) - len(re.sub(r"\A(?:[^\S\n]*\n)+", "", text))
    stop = start + len(document.text[start:stop].rstrip())
    if stop > start:
        yield Chunk(document.id, title, start, stop, document.text[start:stop])


def _last(borders: tuple[re.Pattern[str], ...], text: str, first: int, last: int) -> int:
    """Return the end of the last border between two positions, of the best kind found there."""
    for border in borders:
        if ends := [match.end() for match in border.finditer(text, first, last)]:
            return ends[-1]
    return last


def _first(borders: tuple[re.Pattern[str], ...], text: str, first: int, last: int) -> int:
    """Return the end of the first border between two positions, of the best kind found there."""
    ends = (border.search(text, first, last) for border in borders)
    return next((end.end() for end in ends if end), first)


def _require(size: int, overlap: int) -> None:
    if size < 1 or not 0 <= overlap <= size // 4:
        raise ValueError(
            f"size={size} must be 1 or more, and overlap={overlap} between 0 and a quarter of it, {size // 4}"
        )
