"""Docstrings say what they describe: no fragments, and none of the terms that only this project used."""

import re
from collections.abc import Iterator
from functools import cache

import griffe
import pytest
from site_tools.content.reference import PACKAGE

# Each has a term of the field that says it better.
HOME_MADE = re.compile(
    r"\b(anew|beginnings|by heart|comes? along|dearer|draws|for ever|foretell|hesitates|likeliest"
    r"|nat's price|once more|price of a nat)\b"
)
PREPOSITION = re.compile(
    r"(above|after|among|at|before|below|between|by|for|from|in|like|of|on|over|per|to|under|with|without)\b",
    re.I,
)
CLAUSE = re.compile(r"(as in|what|where)\b", re.I)  # these leave the reader to find the noun


# Found by their files: griffe takes seconds, and pytest collects this file in every process.
MODULES = [path for path in PACKAGE.glob("*.py") if path.stem != "__init__"]
MODULES += PACKAGE.glob("*/__init__.py")


def fault(description: str) -> str | None:
    """What is wrong with the description of an argument.

    >>> fault("Of the order."), fault("How."), fault("$r$."), fault("Rank $r$ of the adapter.")
    ('a prepositional fragment', 'a single word', 'no words', None)
    """
    first = re.split(r"(?<=[.;])\s", " ".join(description.split()))[0].rstrip(".")
    words = re.findall(r"[A-Za-z][\w'-]*", re.sub(r"\$[^$]*\$", "", first))
    if not words:
        return "no words"
    if len(words) == 1 and "`" not in first:
        return "a single word"
    if PREPOSITION.match(first) and len(words) <= 4:
        return "a prepositional fragment"
    if CLAUSE.match(first):
        return "a clause without a noun"
    return None


@cache
def package() -> griffe.Module:
    loaded = griffe.load("llmguide", search_paths=[str(PACKAGE.parent)], docstring_parser="google")
    assert isinstance(loaded, griffe.Module)
    return loaded


def documented(scope: griffe.Object) -> Iterator[griffe.Object]:
    """The public modules, classes and functions of a module, with itself."""
    yield scope
    for name, member in scope.members.items():
        if isinstance(member, griffe.Object) and not (name.startswith("_") and name != "__init__"):
            yield from documented(member)


def faults(place: str) -> list[str]:
    found = []
    for described in documented(package()[place]):
        if not described.docstring:
            continue
        for section in described.docstring.parse("google", warnings=False):
            if section.kind.value in {"parameters", "attributes"}:
                found += [
                    f"{described.path}: {wrong}: {argument.name}: {argument.description}"
                    for argument in section.value
                    if (wrong := fault(argument.description))
                ]
    return found


@pytest.mark.parametrize(
    "place", sorted({path.parent.name if path.stem == "__init__" else path.stem for path in MODULES})
)
def test_arguments_are_described_with_a_noun(place: str) -> None:
    assert not (found := faults(place)), "\n".join(found)


def test_the_package_speaks_in_the_terms_of_the_field() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}: {term!r}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for term in HOME_MADE.findall(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "fragment",
    [
        "Of the order.",
        "How.",
        "Which.",
        "In each sequence.",
        "$r$.",
        "What is added.",
        "Where to write it.",
        "As in the model.",
    ],
)
def test_a_fragment_is_refused(fragment: str) -> None:
    assert fault(fragment)


@pytest.mark.parametrize(
    "sentence",
    ["Rank $r$ of the adapters.", "A decoder.", "`GPT` or `Llama`.", "In (0, 1]: fraction of tokens kept."],
)
def test_a_description_passes(sentence: str) -> None:
    assert not fault(sentence)
