"""List what an editor would read again on a page: terms that have a better one, and sentences.

What site_tools/terms.toml calls wrong fails a page (tests/docs/test_prose.py). The rest is a warning, as only
a reader can judge it.

Examples::

    python -m site_tools.checks.prose docs/learn/attention.md   one page
    python -m site_tools.checks.prose                           every page
"""

import re
import tomllib
from collections.abc import Iterator
from itertools import groupby

from site_tools import ROOT, page_paths
from site_tools.command_line import page_parser
from site_tools.fences import COMPUTED, prose_lines

_LISTS = tomllib.loads((ROOT / "site_tools" / "terms.toml").read_text(encoding="utf-8"))
WRONG: dict[str, str] = _LISTS["wrong"]
DOUBTFUL: dict[str, str] = _LISTS["doubtful"]
_MOST_WORDS = 40  # in a sentence
_NOT_PROSE = re.compile(r"\s*(?:[|#<@]|!!!|\?\?\?|===|!\[|\[[^\]]+\]: |---$|\w+: \"|(?:title|Table|Figure):)")
_CODE = r"`+[^`\n]+`+|\$[^$\n]+\$"
_ADDRESSES = r"(?<=\])[(\[][^)\]\s]+[)\]]|\[@[^\]]+\]|\[\[[^\]]+\]\]|<[^>]+>|https?:\S+"
_NO_WORDS = re.compile(rf"{_CODE}|{_ADDRESSES}|{COMPUTED.pattern}")
_END = re.compile(r"(?<=[.!?])(?<!et al\.)[*\")]*\s+(?=[*\"\[]*[A-Z])")


def plain(text: str) -> list[str]:
    """The lines of a page without code, formulas, citations and addresses; line numbers stay true."""
    return [_NO_WORDS.sub("X", line) for line in prose_lines(text)]


def terms(text: str, better: dict[str, str]) -> Iterator[str]:
    """Say where the prose of a page uses a term of ``better``, and what to write instead."""
    for number, line in enumerate(plain(text), start=1):
        for pattern, instead in better.items():
            for match in re.finditer(rf"(?<![\w-])(?:{pattern})(?![\w-])", line, re.IGNORECASE):
                yield f"line {number}: {match[0]!r}; better: {instead}"


def paragraphs(text: str) -> Iterator[tuple[int, list[str]]]:
    """Each paragraph or list item: the line on which it begins, and its sentences."""
    lines = ["" if _NOT_PROSE.match(line) else line for line in plain(text)]
    for blank, group in groupby(enumerate(lines, start=1), key=lambda numbered: not numbered[1].strip()):
        items: list[tuple[int, str]] = []
        for number, line in [] if blank else group:
            if items and not re.match(r"\s*(?:[-*]|\d+\.) ", line):
                items[-1] = (items[-1][0], f"{items[-1][1]} {line.strip()}")
            else:
                items.append((number, line.strip()))
        yield from ((number, _END.split(item)) for number, item in items)


def warnings(text: str) -> Iterator[str]:
    """Long sentences, three in a row that open alike, and doubtful terms."""
    for number, sentences in paragraphs(text):
        words = [re.findall(r"[^\W\d][\w'-]*", sentence) for sentence in sentences]
        for sentence in words:
            if len(sentence) > _MOST_WORDS:
                yield f"line {number}: {len(sentence)} words in a sentence: {' '.join(sentence[:8])} ..."
        for opening, run in groupby(sentence[0].lower() if sentence else "" for sentence in words):
            if len(list(run)) > 2 and opening != "x":
                yield f"line {number}: three sentences in a row begin with {opening!r}"
    yield from terms(text, DOUBTFUL)


def main() -> None:
    """List the warnings of the pages named on the command line."""
    for path in page_parser("site_tools.checks.prose", __doc__).parse_args().pages or page_paths():
        for warning in warnings(path.read_text(encoding="utf-8")):
            print(f"{path.resolve().relative_to(ROOT)}:{warning.removeprefix('line ')}")


if __name__ == "__main__":
    main()
