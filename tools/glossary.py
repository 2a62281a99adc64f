"""The terms and symbols of the guide: reads docs/_data/glossary.toml, writes docs/glossary.md.

Examples::

    python -m tools.glossary      write the page
"""

import re
import tomllib
from dataclasses import dataclass
from functools import cache

from tools import DATA, DOCS, generated_head, write

PATH = DATA / "glossary.toml"
PAGE = DOCS / "glossary.md"


@dataclass(frozen=True)
class Term:
    """One entry; ``names`` are the spellings that pages may use, the first of them the heading."""

    names: tuple[str, ...]
    definition: str
    symbol: str

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

    Each table is a term: ``definition`` (one sentence, plain text, for it is shown as a tooltip), optionally
    ``aliases`` (other spellings, plurals among them) and ``symbol`` (TeX).

    Raises:
        ValueError: A term lacks its definition, has an unknown field, or shares a spelling with another.
    """
    terms: dict[str, Term] = {}
    owners: dict[str, str] = {}
    for name, fields in tomllib.loads(toml).items():
        if "definition" not in fields:
            raise ValueError(f"glossary.toml: [{name}] lacks a definition")
        if unknown := fields.keys() - {"definition", "aliases", "symbol"}:
            raise ValueError(f"glossary.toml: [{name}] has unknown fields {', '.join(sorted(unknown))}")
        term = Term((name, *fields.get("aliases", [])), fields["definition"], fields.get("symbol", ""))
        for spelling in term.names:
            other = owners.setdefault(spelling.lower(), name)
            if other != name:
                raise ValueError(f"glossary.toml: {spelling!r} names both [{other}] and [{name}]")
        terms[name] = term
    return terms


@cache
def all_terms() -> dict[str, Term]:
    """Every term of the guide, by name."""
    return parse(PATH.read_text(encoding="utf-8"))


def render() -> str:
    """The glossary page."""
    terms = sorted(all_terms().values(), key=lambda term: term.names[0].lower())
    symbols = [term for term in terms if term.symbol]
    parts = [
        generated_head(
            "Glossary",
            "Every term and symbol of the guide, in one sentence each.",
            "tools/glossary.py from docs/_data/glossary.toml",
        )
    ]
    if symbols:
        rows = [
            f"| ${term.symbol}$ | [{term.names[0]}](#{term.anchor}) | {term.definition} |" for term in symbols
        ]
        parts.append(
            "\n".join(["## Symbols\n", "| Symbol | Term | Meaning |", "| :-- | :-- | :-- |", *rows, ""])
        )
        parts.append("Table: Symbols of the guide.\n\n## Terms\n")
    level = "###" if symbols else "##"
    for term in terms:
        symbol = f" Symbol: ${term.symbol}$." if term.symbol else ""
        parts.append(f"{level} {term.names[0]} {{ #{term.anchor} }}\n\n{term.definition}{symbol}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    write(PAGE, render())
