"""Terms and symbols of the guide: docs/glossary.md, from glossary.toml and symbols.toml in docs/_data."""

import html
import math
import re
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

from llmguide.config.presets import PRESETS
from llmguide.pages.entries import check_fields, entry_in, load_toml
from llmguide.pages.facts import fact
from site_tools import DATA, DOCS, generated_head, letter_section
from site_tools.content.values import fill
from site_tools.links import heading_at

PATH = DATA / "glossary.toml"
NAME = "docs/_data/glossary.toml"  # as error messages name it
SYMBOLS = DATA / "symbols.toml"
PAGE = DOCS / "glossary.md"
GREEK = re.compile("alpha|beta|gamma|delta|epsilon|theta|lambda|pi|rho|sigma")


@dataclass(frozen=True)
class Term:
    """One entry; ``names`` are the spellings that pages may use, the first of them the heading."""

    names: tuple[str, ...]
    definition: str
    see: str
    also: tuple[str, ...] = ()
    example: str = ""

    @property
    def slug(self) -> str:
        """Part of the address."""
        return re.sub(r"[^a-z0-9]+", "-", self.names[0].lower()).strip("-")

    @property
    def anchor(self) -> str:
        """Id of the heading on the glossary page."""
        return f"term-{self.slug}"


def parse(toml: str) -> dict[str, Term]:
    """Read terms from TOML.

    Each table is a term: ``definition`` (one sentence of plain text, shown as a tooltip), ``see`` (page and
    heading that explain it), and optionally ``example`` (a formula or an example in Markdown, with computed
    numbers as in ``{{ 2 + 2 }}``), ``also`` (other names) and ``aliases`` (other spellings, such as plurals).

    Raises:
        ValueError: A term lacks a field, has an unknown one, or shares a spelling with another.
    """
    terms: dict[str, Term] = {}
    owners: dict[str, str] = {}
    for name, fields in load_toml(toml, NAME).items():
        where = entry_in(NAME, name, toml)
        check_fields(where, fields, {"definition", "see"}, {"also", "aliases", "example"})
        also = tuple(fields.get("also", ()))
        names = (name, *also, *fields.get("aliases", ()))
        term = Term(names, fields["definition"], fields["see"], also, fields.get("example", ""))
        for spelling in term.names:
            other = owners.setdefault(spelling.lower(), name)
            if other != name:
                raise ValueError(f"{where}: {spelling!r} names both [{other}] and [{name}]")
        terms[name] = term
    return terms


@cache
def all_terms() -> dict[str, Term]:
    """Every term of the guide, by name."""
    return parse(PATH.read_text(encoding="utf-8"))


@cache
def symbol_groups() -> list[dict[str, Any]]:
    """The groups of symbols.toml, each with ``title``, ``see`` and ``symbols``, pairs of TeX and meaning."""
    data = load_toml(SYMBOLS.read_text(encoding="utf-8"), "docs/_data/symbols.toml")
    groups: list[dict[str, Any]] = data["group"]
    return groups


def as_text(tex: str) -> str:
    r"""A symbol as one types it, which is how it is found by the search and spelled in code.

    >>> as_text(r"\hat A_t"), as_text(r"\pi_\text{ref}")
    ('A_t', 'π_ref, pi_ref')
    """
    named = re.sub(r"\\(text|mathrm|hat)\b *|[\\{}]", "", tex)
    letters = html.unescape(GREEK.sub(r"&\g<0>;", named))
    return named if letters == named else f"{letters}, {named}"


def render() -> str:
    """The glossary page."""
    parts = [
        generated_head(
            "Glossary",
            "Every term and symbol of the guide in a sentence, with an example and where it is explained.",
            "site_tools/content/glossary.py from docs/_data/glossary.toml and symbols.toml",
            edit="docs/_data/glossary.toml",
        ),
    ]
    terms = sorted(all_terms().values(), key=lambda term: term.names[0].lower())
    for letter, group in groupby(terms, key=lambda term: term.names[0][0].upper()):
        entries = [_entry(term) for term in group]
        parts.append(letter_section(letter, entries, 16))
    parts.append(
        "## Symbols\n\nA letter may have different meanings; each table names the page that uses it.\n"
    )
    for table in symbol_groups():
        rows = [f"| ${tex}$ | {as_text(tex)} | {meaning} |" for tex, meaning in table["symbols"]]
        parts += [f"### {table['title']}\n", "| Symbol | As text | Meaning |", "| :-- | :-- | :-- |", *rows]
        link = _link(table["see"], f"docs/_data/symbols.toml: {table['title']!r}")
        parts.append(f"\nTable: As in {link}.\n")
    return "\n".join(parts)


def _where(term: Term) -> str:
    return entry_in(NAME, term.names[0], PATH.read_text(encoding="utf-8"))


def _entry(term: Term) -> str:
    also = f"Also: {', '.join(term.also)}. " if term.also else ""
    link = _link(term.see, _where(term))
    shown = f"{example(term)}\n{{: .example }}\n\n" if term.example else ""
    return f"### {term.names[0]} {{ #{term.anchor} }}\n\n{term.definition}\n\n{shown}{also}See {link}.\n"


def example(term: Term) -> str:
    """The example of a term, its numbers computed.

    Raises:
        ValueError: A number cannot be computed.
    """
    try:
        return fill(term.example, {**_NAMES})
    except Exception as error:
        raise ValueError(f"{_where(term)}: {type(error).__name__}: {error}") from error


def _softmax(*scores: float) -> list[float]:
    total = sum(map(math.exp, scores))
    return [math.exp(score) / total for score in scores]


def _entropy(*probabilities: float) -> float:
    return -sum(p * math.log2(p) for p in probabilities)


_NAMES = {
    "PRESETS": PRESETS,
    "entropy": _entropy,
    "fact": fact,
    "math": math,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "softmax": _softmax,
}


def _link(see: str, entry: str) -> str:
    """A link to a place, under the title of its page; ``entry`` is where an error is."""
    try:
        heading_at(see)
    except ValueError as error:
        raise ValueError(f"{entry}: {error}") from None
    return f"[{heading_at(see.partition('#')[0])}]({see})"
