"""The works that the guide cites: from docs/_data/references.bib to docs/bibliography.md."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from pathlib import Path
from string import ascii_lowercase

from pybtex.database import Entry, Person, parse_string
from pybtex.exceptions import PybtexError

from llmguide.pages.entries import near
from llmguide.pages.facts import NAME as FACTS
from llmguide.pages.facts import REFERENCE, all_facts, fact
from site_tools import DATA, DOCS, ROOT, generated_head, letter_section, page_paths
from site_tools.fences import matches, prose_lines
from site_tools.links import heading_at

PATH = DATA / "references.bib"
PAGE = DOCS / "bibliography.md"
CITATION = re.compile(r"\[(?P<works>@[a-z][\w-]*(?:, [^\[\]@;]+)?(?:; @[a-z][\w-]*(?:, [^\[\]@;]+)?)*)\]")
SOURCES = re.compile(r"^@sources(?P<keys>(?: [a-z][\w-]*)*)[ ]*$", re.MULTILINE)
_MANY_AUTHORS = 6


@dataclass(frozen=True)
class Work:
    """One entry of the bibliography."""

    key: str
    title: str
    authors: tuple[str, ...]
    surnames: tuple[str, ...]
    year: str
    arxiv: str
    url: str
    annotation: str
    general: bool

    @property
    def label(self) -> str:
        """How prose names the work: ``Vaswani et al., 2017``."""
        return f"{self.who}, {self.year}"

    @property
    def who(self) -> str:
        """The authors as prose names them."""
        if len(self.surnames) > 2:
            return f"{self.surnames[0]} et al."
        return " and ".join(self.surnames)

    @property
    def address(self) -> str:
        """Where to read it."""
        return f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else self.url

    @property
    def markdown(self) -> str:
        """Authors, year, title with its link, and why to read it."""
        names = self.authors if len(self.authors) <= _MANY_AUTHORS else (*self.authors[:3], "et al.")
        arxiv = f" arXiv:{self.arxiv}." if self.arxiv else ""
        return f"{', '.join(names)} ({self.year}). [{self.title}]({self.address}).{arxiv} {self.annotation}"


def parse(bibtex: str) -> dict[str, Work]:
    """Read works from BibTeX; years get a letter where authors and year alone are not distinct.

    Raises:
        ValueError: It is no BibTeX, or an entry lacks a title, authors, year, annotation, or both an arXiv id
            and an address.
    """
    try:
        entries = parse_string(bibtex, "bibtex").entries.items()
    except PybtexError as error:
        problem = re.sub(r"^(.*) in line (\d+): ", r"\2: \1: ", str(error))
        raise ValueError(f"docs/_data/references.bib:{problem}") from error
    return _with_distinct_labels({key: _work(key, entry) for key, entry in entries})


def _with_distinct_labels(works: dict[str, Work]) -> dict[str, Work]:
    ordered = sorted(works.values(), key=lambda work: (work.label, work.title))
    for _, group in groupby(ordered, key=lambda work: work.label):
        alike = list(group)
        if len(alike) > 1:
            for letter, entry in zip(ascii_lowercase, alike, strict=False):
                works[entry.key] = replace(entry, year=entry.year + letter)
    return works


def _work(key: str, entry: Entry) -> Work:
    fields, people = entry.fields, entry.persons.get("author", [])
    missing = [name for name in ("title", "year", "annote") if name not in fields]
    missing += [] if people else ["author"]
    missing += [] if "eprint" in fields or "url" in fields else ["eprint or url"]
    if missing:
        raise ValueError(f"references.bib: {key} lacks {', '.join(missing)}")
    return Work(
        key=key,
        title=_plain(fields["title"]),
        authors=tuple(_name(person) for person in people),
        surnames=tuple(_surname(person) for person in people),
        year=fields["year"],
        arxiv=fields.get("eprint", ""),
        url=fields.get("url", ""),
        annotation=_plain(fields["annote"]),
        general="general" in fields.get("keywords", ""),
    )


def _plain(text: str) -> str:
    """Text without the braces by which BibTeX protects capitals, on one line."""
    return re.sub(r"\s+", " ", text.replace("{", "").replace("}", "")).strip()


def _surname(person: Person) -> str:
    return _plain(" ".join([*person.prelast_names, *person.last_names]))


def _name(person: Person) -> str:
    given = [*person.first_names, *person.middle_names]
    return _plain(" ".join([*given, _surname(person), *person.lineage_names]))


@cache
def all_works() -> dict[str, Work]:
    """Every work of the bibliography, by key."""
    return parse(PATH.read_text(encoding="utf-8"))


def work(key: str) -> Work:
    """The work with this key.

    Raises:
        ValueError: There is no such work.
    """
    if key not in all_works():
        raise ValueError(_unknown(key))
    return all_works()[key]


def _unknown(key: str) -> str:
    return f"unknown citation @{key}; add it to docs/_data/references.bib{near(key, all_works())}"


def split_citation(works: str) -> list[tuple[str, str]]:
    """Keys and places of a citation.

    >>> split_citation("@vaswani2017, section 3.2; @brown2020")
    [('vaswani2017', 'section 3.2'), ('brown2020', '')]
    """
    pairs = [part.strip().removeprefix("@").partition(", ") for part in works.split(";")]
    return [(key, where) for key, _, where in pairs]


def cited(text: str) -> list[str]:
    """Keys of the works that a page cites, directly or through a fact, in order of first citation."""
    keys: dict[str, None] = {}
    either = re.compile(f"{SOURCES.pattern}|{CITATION.pattern}|{REFERENCE.pattern}", re.MULTILINE)
    for _, match in matches(either, "\n".join(prose_lines(text))):
        if match["keys"] is not None:
            keys.update(dict.fromkeys(match["keys"].split()))
        elif match["works"]:
            keys.update(dict.fromkeys(key for key, _ in split_citation(match["works"])))
        else:
            keys[fact(match["fact"]).source] = None
    return list(keys)


def source_list(text: str, keys: str) -> str:
    """What ``@sources`` stands for on a page: the named works, or all others that the page cites.

    Raises:
        ValueError: There is none.
    """
    listed = {
        key for match in SOURCES.finditer("\n".join(prose_lines(text))) for key in match["keys"].split()
    }
    chosen = keys.split() or [key for key in cited(text) if key not in listed]
    if not chosen:
        raise ValueError("@sources: the page cites nothing")
    return "\n".join(f"- {work(key).markdown}" for key in chosen)


def citing_pages(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """For each cited key, the pages that cite it."""
    pages: dict[str, list[Path]] = {}
    for path in paths:
        for key in cited(path.read_text(encoding="utf-8")):
            pages.setdefault(key, []).append(path)
    return pages


def render() -> str:
    """The bibliography page.

    Raises:
        ValueError: A fact or a page cites a work that does not exist.
    """
    pages = citing_pages(page_paths())
    cites = {entry.source: f"{FACTS}: [{entry.key}]" for entry in all_facts().values()}
    cites |= {key: paths[0].relative_to(ROOT).as_posix() for key, paths in pages.items()}
    if unknown := cites.keys() - all_works().keys():
        key = min(unknown)
        raise ValueError(f"{cites[key]}: {_unknown(key)}")
    parts = [
        generated_head(
            "Bibliography",
            "Every work that the guide cites, with a line on why to read it.",
            "site_tools/content/bibliography.py from docs/_data/references.bib",
            edit="docs/_data/references.bib",
        )
    ]
    works = sorted(all_works().values(), key=lambda work: (work.who.lower(), work.year, work.title))
    for letter, group in groupby(works, key=lambda work: work.who[0].upper()):
        entries = []
        for entry in group:
            addresses = [path.relative_to(DOCS).as_posix() for path in pages.get(entry.key, [])]
            links = [f"[{heading_at(address)}]({address})" for address in addresses]
            where = f"<br>\nCited in {', '.join(links)}." if links else ""
            entries.append(
                f"### {entry.label}: {entry.title} {{ #{entry.key} }}\n\n{entry.markdown}{where}\n"
            )
        parts.append(letter_section(letter, entries, 19))
    return "\n".join(parts)
