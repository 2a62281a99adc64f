"""Find fenced code in Markdown, and tell code from prose.

The page runner, the Markdown extensions and the lint all read pages through this file, so that they agree on
what a fence is: also when it stands indented in an admonition, a list or a tab.
"""

import ast
import contextlib
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_OPEN = re.compile(r"^(?P<indent>[ ]*)(?P<marker>`{3,}|~{3,})[ ]*(?P<info>[^`]*)$")
PARAGRAPH = r"(?:[^\n]|\n(?!\s*\n))+?"  # text that no blank line interrupts
_CODE_SPAN = rf"(?<!`)(?P<ticks>`+)(?!`){PARAGRAPH}(?<!`)(?P=ticks)(?!`)"
COMPUTED = re.compile(r"\{\{ (?P<value>(?:(?:(?!\}\})[^\n])*? )??= [^\n]+?) \}\}")


@dataclass(frozen=True)
class Fence:
    """One fenced block; ``start`` and ``end`` bound its lines, counted from 0, markers included."""

    start: int
    end: int
    indent: str
    marker: str
    language: str
    classes: tuple[str, ...]
    attributes: dict[str, str]
    code: str

    @property
    def first_code_line(self) -> int:
        """Number of the first line of code in the page, counted from 1."""
        return self.start + 2


def fences(text: str) -> list[Fence]:
    """Every fence of a page, outermost only, with its code dedented.

    Raises:
        ValueError: A fence, or a quotation mark in its header, is never closed.
    """
    lines = text.split("\n")
    found = []
    start = 0
    while start < len(lines):
        opening = _OPEN.match(lines[start])
        if opening is None:
            start += 1
            continue
        closing = re.compile(rf"^{opening['indent']}{opening['marker'][0]}{{{len(opening['marker'])},}}[ ]*$")
        end = next((i for i in range(start + 1, len(lines)) if closing.match(lines[i])), None)
        if end is None:
            raise ValueError(f"line {start + 1}: the fence {lines[start].strip()!r} is never closed")
        width = len(opening["indent"])
        code = "\n".join(
            line[width:] if not line[:width].strip() else line for line in lines[start + 1 : end]
        )
        try:
            language, classes, attributes = _header(opening["info"].strip())
        except ValueError:
            raise ValueError(
                f"line {start + 1}: a quotation mark in {lines[start].strip()!r} is never closed"
            ) from None
        found.append(
            Fence(start, end + 1, opening["indent"], opening["marker"], language, classes, attributes, code)
        )
        start = end + 1
    return found


def _header(info: str) -> tuple[str, tuple[str, ...], dict[str, str]]:
    """Split ``{.python .run title="x"}`` or ``python title="x"`` into language, classes and attributes."""
    braced = info.startswith("{")
    words = shlex.split(info.strip("{} "))
    classes = [
        word.removeprefix(".") for word in words if word.startswith(".") or ("=" not in word and not braced)
    ]
    attributes = dict(word.split("=", 1) for word in words if "=" in word)
    return (classes[0] if classes else ""), tuple(classes[1:]), attributes


def map_prose(text: str, change: Callable[[str], str]) -> str:
    """Apply ``change`` to each run of lines that stands outside fences, and join the page again."""
    lines = text.split("\n")
    parts: list[str] = []
    position = 0
    for fence in fences(text):
        if fence.start > position:
            parts.append(change("\n".join(lines[position : fence.start])))
        parts.extend(lines[fence.start : fence.end])
        position = fence.end
    if position < len(lines):
        parts.append(change("\n".join(lines[position:])))
    return "\n".join(parts)


def outside_code(pattern: re.Pattern[str], replace: Callable[[re.Match[str]], str]) -> Callable[[str], str]:
    """A function of prose that replaces ``pattern`` everywhere but in `code spans`."""
    both = _or_code(pattern)
    return lambda prose: both.sub(lambda match: match[0] if match["code_span"] else replace(match), prose)


def matches(pattern: re.Pattern[str], prose: str) -> list[tuple[int, re.Match[str]]]:
    """Each match that is not in a `code span`, with its line, counted from 1."""
    found = [match for match in _or_code(pattern).finditer(prose) if not match["code_span"]]
    return [(prose.count("\n", 0, match.start()) + 1, match) for match in found]


def blanked(pattern: re.Pattern[str], prose: str) -> str:
    """Prose with spaces in place of each match that is not in a `code span`; its lines stay as they are."""
    return outside_code(pattern, lambda match: re.sub(r"[^\n]", " ", match[0]))(prose)


def _or_code(pattern: re.Pattern[str]) -> re.Pattern[str]:
    return re.compile(rf"(?P<code_span>{_CODE_SPAN})|{pattern.pattern}", pattern.flags)


def split_computed(value: str) -> tuple[str, str]:
    """Stored text and expression of an inline value; the first ``=`` with an expression after it parts them.

    >>> split_computed("1/2 = 0.5 = f'1/2 = {1 / 2}'")
    ('1/2 = 0.5', "f'1/2 = {1 / 2}'")

    Raises:
        ValueError: No part of the value is an expression.
    """
    for sign in re.finditer(r"(?:^| )= ", value):
        with contextlib.suppress(SyntaxError):
            ast.parse(value[sign.end() :].strip(), mode="eval")
            return value[: sign.start()], value[sign.end() :].strip()
    raise ValueError(f"{{{{ {value} }}}} does not end in a Python expression")


def prose_lines(text: str) -> list[str]:
    """The lines of a page with every fenced line blanked, so that line numbers stay true."""
    lines = text.split("\n")
    for fence in fences(text):
        lines[fence.start : fence.end] = [""] * (fence.end - fence.start)
    return lines


def dump(header: str, lines: Sequence[str], indent: str) -> list[str]:
    """A fence around ``lines``, longer than any fence inside them."""
    longest = max((len(run) for line in lines for run in re.findall(r"^\s*(`{3,})", line)), default=2)
    marker = "`" * (longest + 1)
    return [_indented(line, indent) for line in (f"{marker}{header}", *lines, marker)]


def _indented(line: str, indent: str) -> str:
    return f"{indent}{line}" if line else ""
