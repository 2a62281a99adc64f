"""A paragraph that starts with ``>>>`` is a doctest and becomes a code block, not three nested quotations."""

import re

from site_tools.markdown import replacing

_DOCTEST = re.compile(r"^(?P<indent>[ ]*)>>> (?:[^\n]*\S[^\n]*\n?)+", re.MULTILINE)


def _fenced(match: re.Match[str]) -> str:
    indent = match["indent"]
    return f"{indent}```pycon\n{match[0].rstrip()}\n{indent}```\n"


# before formulas and facts are read: brackets in a doctest are Python's
makeExtension = replacing("doctests", _DOCTEST, _fenced, 30)
