"""Common claims that do not hold up, and what is true, from docs/_data/claims.toml.

A page names the claims that a section discusses: ``@claims weight-tying gpt2-117m``. The line links to them,
and they link to that section (site_tools/content/claims_page.py).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from llmguide.pages.entries import check_fields, entry_in, load_toml, near
from site_tools import DATA

PATH = DATA / "claims.toml"
NAME = "docs/_data/claims.toml"  # as error messages name it
LINE = re.compile(r"^@claims(?P<keys>(?: [a-z][\w-]*)+)[ ]*$", re.MULTILINE)
CONSEQUENCES = {
    "decision": "Claims that lead to a wrong choice",
    "understanding": "Claims that mislead about how models work",
    "detail": "Wrong numbers, names and dates",
}
KINDS = {
    "wrong": "Its source or arithmetic contradicts it.",
    "misleading": "It is true only in part, or of something else.",
    "outdated": "It used to be true.",
    "unproven": "No source supports it, or no measurement could.",
}


@dataclass(frozen=True)
class Claim:
    """One claim that does not hold up, and what is true instead."""

    key: str
    consequence: str
    kind: str
    claim: str
    truth: str

    @property
    def anchor(self) -> str:
        """Its id on the page of claims."""
        return f"claim-{self.key}"


def parse(toml: str) -> dict[str, Claim]:
    """Read the claims.

    Each table is a claim: ``consequence``, ``kind``, ``claim`` and ``truth`` (Markdown, with citations and
    values to compute).

    Raises:
        ValueError: An entry lacks a field, has an unknown one, or names no consequence or kind that exists.
    """
    tables = load_toml(toml, NAME)
    for key, fields in tables.items():
        where = entry_in(NAME, key, toml)
        check_fields(where, fields, {"consequence", "kind", "claim", "truth"}, set())
        for field, known in (("consequence", CONSEQUENCES), ("kind", KINDS)):
            if fields[field] not in known:
                raise ValueError(
                    f"{where} {field} = {fields[field]!r} must be one of {', '.join(known)}"
                    + near(str(fields[field]), known)
                )
    return {key: Claim(key, **fields) for key, fields in tables.items()}


@cache
def all_claims() -> dict[str, Claim]:
    """Every claim, by key."""
    return parse(PATH.read_text(encoding="utf-8"))


def claim(key: str) -> Claim:
    """The claim with this key.

    Raises:
        ValueError: There is no such claim.
    """
    if key not in all_claims():
        raise ValueError(f"@claims {key}: {NAME} has no such claim{near(key, all_claims())}")
    return all_claims()[key]


def list_of_links(keys: str, link: Callable[[Claim], str]) -> str:
    """What ``@claims KEYS`` stands for on a page; ``link`` makes the Markdown of one link."""
    return f"Common claims that do not hold up: {' · '.join(link(claim(key)) for key in keys.split())}"
