"""Common claims that do not hold up, and what is true: reads docs/_data/errata.toml, writes docs/errata.md.

Numbers that the package can compute are written as ``{{ = expression }}`` in the list and computed here.

Examples::

    python -m tools.errata      write the page
"""

import math
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from markdown import Markdown

from llmguide.config import PRESETS, ModelConfig
from llmguide.costs import memory, scaling_laws
from llmguide.tokenization.openai import load_encoding
from tools import DATA, DOCS, generated_head, write
from tools.bibliography import cited, work
from tools.fences import COMPUTED, outside_code, prose_lines, split_computed

PATH = DATA / "errata.toml"
PAGE = DOCS / "errata.md"
KINDS = {
    "wrong": "Its source or arithmetic contradicts it.",
    "misleading": "It is true only in part, or of something else.",
    "outdated": "It used to be true.",
    "unproven": "No source supports it, or no measurement could.",
}
_FIELDS = {"chapter", "kind", "said", "truth"}


@dataclass(frozen=True)
class Erratum:
    """One claim that does not hold up, and what is true instead."""

    key: str
    chapter: str
    kind: str
    said: str
    truth: str
    where: str


def parse(toml: str) -> tuple[dict[str, str], list[Erratum]]:
    """Read the chapters, each with the page that covers it, and the errata.

    Each table is an erratum: ``chapter``, ``kind``, ``said``, ``truth`` (Markdown, with citations and values
    to compute), and optionally ``where``: the place in the guide, if it is not simply the chapter's page.

    Raises:
        ValueError: An entry lacks a field, has an unknown one, or names no chapter or kind that exists.
    """
    tables = tomllib.loads(toml)
    chapters = tables.pop("chapters")
    for key, fields in tables.items():
        if missing := _FIELDS - fields.keys():
            raise ValueError(f"errata.toml: [{key}] lacks {', '.join(sorted(missing))}")
        if unknown := fields.keys() - _FIELDS - {"where"}:
            raise ValueError(f"errata.toml: [{key}] has unknown fields {', '.join(sorted(unknown))}")
        for field, known in (("chapter", chapters), ("kind", KINDS)):
            if fields[field] not in known:
                raise ValueError(
                    f"errata.toml: [{key}] {field} = {fields[field]!r} must be one of {', '.join(known)}"
                )
    entries = [Erratum(key, where=fields.pop("where", ""), **fields) for key, fields in tables.items()]
    return chapters, entries


# ---- values ----------------------------------------------------------------------------------------


def gpt(n_layers: int, d_model: int, *, vocab: int = 50_257, context: int = 1024) -> ModelConfig:
    """A model of GPT-2's make in another size."""
    return ModelConfig(
        vocab_size=vocab, context_length=context, n_layers=n_layers, d_model=d_model, n_heads=d_model // 64
    )


def sci(value: float, digits: int = 1) -> str:
    """A large number as people write it: with a power of ten."""
    mantissa, exponent = f"{value:.{digits}e}".split("e")
    raised = str(int(exponent)).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa}\u00a0\u00d7\u00a010{raised}"


def pieces(text: str, encoding: str = "r50k_base") -> str:
    """The tokens of a text as words with bars between, spaces visible."""
    vocabulary = load_encoding(encoding)
    return "|".join(vocabulary.decode([token]) for token in vocabulary.encode(text)).replace(" ", "␣")


@cache
def names() -> dict[str, Any]:
    """What an expression may use: the presets, and the package's functions on sizes, costs and tokens."""
    modules = vars(scaling_laws) | vars(memory)
    found = {name: value for name, value in modules.items() if not name.startswith("_")}
    return found | {
        "math": math,
        "unicodedata": unicodedata,
        "preset": PRESETS.__getitem__,
        "gpt": gpt,
        "sci": sci,
        "pieces": pieces,
        "ids": lambda text, encoding="r50k_base": load_encoding(encoding).encode(text),
        "vocab_size": lambda encoding: load_encoding(encoding).n_vocab,
    }


def compute(text: str) -> str:
    """A text with every value computed, and still in braces, so that the page shows the expression."""

    def value(expression: str) -> str:
        return f"{{{{ {eval(expression, dict(names()))} = {expression} }}}}"

    return outside_code(COMPUTED, lambda match: value(split_computed(match["value"])[1]))(text)


# ---- the page --------------------------------------------------------------------------------------


@cache
def headings(text: str) -> dict[str, str]:
    """For each heading of a page, its id as the build makes it, and its text."""
    md = Markdown(extensions=["toc", "attr_list"])
    md.convert("\n\n".join(line for line in prose_lines(text) if line.startswith("#")))

    def walk(tokens: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
        for token in tokens:
            yield token["id"], token["name"]
            yield from walk(token["children"])

    return dict(walk(md.toc_tokens))


def place(entry: Erratum, chapter_page: str) -> str:
    """The link to where the guide has it right, or nothing while the chapter has no page.

    Raises:
        ValueError: The erratum names a page or a heading that does not exist.
    """
    page, _, anchor = (entry.where or chapter_page).partition("#")
    if not (DOCS / page).is_file():
        if entry.where:
            raise ValueError(f"errata.toml: [{entry.key}] where = {entry.where!r}: there is no such page")
        return ""
    titles = headings((DOCS / page).read_text(encoding="utf-8"))
    if anchor and anchor not in titles:
        raise ValueError(f"errata.toml: [{entry.key}] where = {entry.where!r}: no heading has this id")
    title = titles[anchor] if anchor else next(iter(titles.values()))
    return f" See [{title}]({entry.where or chapter_page})."


def render() -> str:
    """The errata page."""
    chapters, entries = parse(PATH.read_text(encoding="utf-8"))
    counts = Counter(entry.kind for entry in entries)
    rows = [f"| **{kind.capitalize()}** | {counts[kind]} | {meaning} |" for kind, meaning in KINDS.items()]
    parts = [
        generated_head(
            "Errata",
            "Common claims about language models that do not hold up, and what is true, with its source.",
            "tools/errata.py from docs/_data/errata.toml",
            edit="docs/_data/errata.toml",
        ),
        f"This page lists {len(entries)} claims from introductions to language models that did not survive a "
        "check, and what is true instead. Numbers with a dotted line are computed when this page is built; "
        "the rest was checked in November 2026.\n",
        "| Kind | Entries | Means |\n| :-- | --: | :-- |",
        *rows,
        "\nTable: Kinds of errata.\n",
    ]
    for chapter, page in chapters.items():
        parts.append(f"## {chapter}\n")
        parts += [_section(entry, page) for entry in entries if entry.chapter == chapter]
    return "\n".join(parts)


def _section(entry: Erratum, chapter_page: str) -> str:
    for key in cited(entry.truth):
        work(key)
    return (
        f'<div class="erratum" id="{entry.key}" markdown>\n\n'
        f"**{entry.kind.capitalize()}.** “{entry.said}”\n\n"
        f"{compute(entry.truth.strip())}{place(entry, chapter_page)}\n\n</div>\n"
    )


if __name__ == "__main__":
    write(PAGE, render())
