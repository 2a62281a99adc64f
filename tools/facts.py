"""Numbers that come from a source: one entry each in docs/_data/facts.toml; pages name the key."""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from typing import Any

from tools import DATA

PATH = DATA / "facts.toml"
_KEY = r"[a-z][a-z0-9]*(?:-[a-z0-9.]+)+"  # the hyphen tells [[gpt3-context]] from a nested list in prose
REFERENCE = re.compile(rf"\[\[(?P<fact>{_KEY})\]\]")


@dataclass(frozen=True)
class Fact:
    """A value with the place where it can be checked."""

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

    Each table is one fact: ``value``, ``source`` (a key of references.bib), ``where`` in the source,
    ``checked`` (the date on which someone read it there), and optionally ``text`` (how to print the value)
    and ``unit``.

    Raises:
        ValueError: A fact lacks a field, or has one that does not exist.
    """
    return {key: _fact(key, fields) for key, fields in tomllib.loads(toml).items()}


def _fact(key: str, fields: dict[str, Any]) -> Fact:
    if not re.fullmatch(_KEY, key):
        raise ValueError(f"facts.toml: the key [{key}] is not like gpt3-context: lower case, with a hyphen")
    required, optional = {"value", "source", "where", "checked"}, {"text", "unit"}
    if missing := required - fields.keys():
        raise ValueError(f"facts.toml: [{key}] lacks {', '.join(sorted(missing))}")
    if unknown := fields.keys() - required - optional:
        raise ValueError(f"facts.toml: [{key}] has unknown fields {', '.join(sorted(unknown))}")
    value = fields["value"]
    text = fields.get("text") or (value if isinstance(value, str) else f"{value:,}")
    unit = f" {fields['unit']}" if "unit" in fields else ""
    return Fact(key, value, f"{text}{unit}", str(fields["source"]), str(fields["where"]))


@cache
def all_facts() -> dict[str, Fact]:
    """Every fact of the guide, by key."""
    return parse(PATH.read_text(encoding="utf-8"))


def fact(key: str) -> Fact:
    """The fact with this key.

    Raises:
        ValueError: There is no such fact.
    """
    if key not in all_facts():
        raise ValueError(f"unknown fact [[{key}]]; add it to docs/_data/facts.toml")
    return all_facts()[key]


def cite(key: str, where: str = "") -> str:
    """The Markdown that cites a work, for use in computed tables.

    >>> cite("vaswani2017", "section 3.2")
    '[@vaswani2017, section 3.2]'
    """
    return f"[@{key}, {where}]" if where else f"[@{key}]"
