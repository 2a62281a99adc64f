"""Facts of the guide: numbers that come from a source. Each has one entry in ``facts.toml``."""

import re
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

from llmguide.pages.entries import check_fields, entry_in, load_toml, near

NAME = "src/llmguide/pages/facts.toml"  # as error messages name it
_KEY = r"[a-z][a-z0-9]*(?:-[a-z0-9.]+)+"  # the hyphen tells [[context-gpt3]] from a nested list in prose
REFERENCE = re.compile(rf"\[\[(?P<fact>{_KEY})\]\]")


@dataclass(frozen=True)
class Fact:
    """A value with the place where it can be checked.

    Attributes:
        key: Name of the fact, such as ``context-gpt3``.
        value: Number, or text.
        text: Value as it is printed, with its unit.
        source: Key of the work in the bibliography.
        where: Place in the source, such as ``table 2.1``.
    """

    key: str
    value: int | float | str
    text: str
    source: str
    where: str

    @property
    def markdown(self) -> str:
        """The text followed by its citation."""
        return f"{self.text} {cite(self.source, self.where)}"


def parse(toml: str) -> dict[str, Fact]:
    """Read facts from TOML.

    Each table is one fact: ``value``, ``source`` (a key of the bibliography), ``where`` in the source,
    ``checked`` (the date on which someone read it there), and optionally ``text`` (how to print the value)
    and ``unit``.

    Args:
        toml: Text of a file such as ``facts.toml``.

    Returns:
        Facts by their keys.

    Raises:
        ValueError: A fact lacks a field or has an unknown one, or two facts say the same thing. They
            do if their keys have the same words, or if the words of one key are among the other's and source
            and text are the same.
    """
    tables = load_toml(toml, NAME)
    facts = {key: _fact(entry_in(NAME, key, toml), key, fields) for key, fields in tables.items()}
    for one, other in combinations(facts.values(), 2):
        words, others = set(one.key.split("-")), set(other.key.split("-"))
        same = (one.source, one.text) == (other.source, other.text)
        if words == others or (same and (words < others or others < words)):
            raise ValueError(f"{entry_in(NAME, other.key, toml)} says the same as [{one.key}]; keep one")
    return facts


def _fact(where: str, key: str, fields: dict[str, Any]) -> Fact:
    if not re.fullmatch(_KEY, key):
        raise ValueError(f"{where} is no key like context-gpt3, in lower case and with a hyphen")
    check_fields(where, fields, {"value", "source", "where", "checked"}, {"text", "unit"})
    value = fields["value"]
    text = fields.get("text") or (value if isinstance(value, str) else f"{value:,}")
    unit = f" {fields['unit']}" if "unit" in fields else ""
    return Fact(key, value, f"{text}{unit}", str(fields["source"]), str(fields["where"]))


@cache
def all_facts() -> dict[str, Fact]:
    """Return every fact of the guide, by its key."""
    return parse(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def fact(key: str) -> Fact:
    """Return the fact with a key.

    Args:
        key: Name of the fact.

    Raises:
        ValueError: No fact has this key; the message names the most similar one.

    >>> context = fact("context-gpt3")
    >>> context.value, context.markdown
    (2048, '2,048 tokens [@brown2020, section 2.1]')
    """
    if key not in all_facts():
        raise ValueError(f"unknown fact [[{key}]]; add it to {NAME}{near(key, all_facts())}")
    return all_facts()[key]


def read_by(code: str) -> list[Fact]:
    """Return the facts that code reads, for programs that have to know when they change.

    These are all facts if the code computes a key.

    Args:
        code: Python source.

    >>> [fact.key for fact in read_by("fact('context-gpt3').value")]
    ['context-gpt3']
    >>> len(read_by("fact(key).value")) == len(all_facts())
    True
    """
    literal = r"""\bfact\(\s*(["'])([\w.-]+)\1\s*\)"""
    if re.search(r"\bfact\(|[(,=]\s*fact\b|\ball_facts\b", re.sub(literal, "", code)):
        return list(all_facts().values())
    keys = sorted({key for _, key in re.findall(literal, code)})
    return [fact(key) for key in keys if key in all_facts()]


def cite(key: str, where: str = "") -> str:
    """Return the Markdown that cites a work, for use in computed tables.

    Args:
        key: Key of the work in the bibliography.
        where: Place in the work, such as ``section 3.2``.

    >>> cite("vaswani2017", "section 3.2")
    '[@vaswani2017, section 3.2]'
    """
    return f"[@{key}, {where}]" if where else f"[@{key}]"
