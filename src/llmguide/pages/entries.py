"""Read TOML files that people edit, with errors that name the file, the line and the fix."""

import re
import tomllib
from collections.abc import Collection, Iterable, Set
from difflib import get_close_matches
from typing import Any


def load_toml(text: str, name: str) -> dict[str, Any]:
    """Parse TOML, with errors that name the file and the line.

    Args:
        text: TOML source.
        name: Name of the file in error messages, such as ``docs/_data/claims.toml``.

    Raises:
        ValueError: The text is not valid TOML; the message begins ``name:line:``.

    >>> load_toml("a = ", "a.toml")
    Traceback (most recent call last):
    ValueError: a.toml:1: Invalid value (at end of document)
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.fullmatch(r"(?P<problem>.*) \(at line (?P<line>\d+), column \d+\)", str(error))
        line = found["line"] if found else text.count("\n") + 1
        raise ValueError(f"{name}:{line}: {found['problem'] if found else error}") from None


def entry_in(name: str, key: str, toml: str) -> str:
    r"""Return how an error message names a table of a TOML file.

    Args:
        name: Name of the file in error messages.
        key: Name of the table.
        toml: Text of the file.

    >>> entry_in("claims.toml", "weight-tying", "# Claims\n[weight-tying]\n")
    'claims.toml:2: [weight-tying]'
    """
    head = re.search(rf"""^\[["']?{re.escape(key)}["']?\]""", toml, re.MULTILINE)
    line = toml.count("\n", 0, head.start()) + 1 if head else 1
    return f"{name}:{line}: [{key}]"


def check_fields(where: str, fields: Collection[str], required: Set[str], optional: Set[str]) -> None:
    """Check the names of the fields of an entry.

    Args:
        where: Beginning of the error message, which names the entry.
        fields: Names of the fields that the entry has.
        required: Names of the fields that it must have.
        optional: Names of the fields that it may have.

    Raises:
        ValueError: A required field is missing, or a field is neither required nor optional.
    """
    if unknown := sorted(set(fields) - required - optional):
        known = sorted(required | optional)
        raise ValueError(
            f"{where} has unknown fields {', '.join(unknown)}; known are {', '.join(known)}"
            + near(unknown[0], known)
        )
    if missing := required - set(fields):
        raise ValueError(f"{where} lacks {', '.join(sorted(missing))}")


def near(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the most similar known name, if there is one.

    >>> near("context-gtp3", ["context-gpt3", "gpt3-layers"])
    '; did you mean context-gpt3?'
    """
    return "".join(f"; did you mean {match}?" for match in get_close_matches(name, list(known), 1))
