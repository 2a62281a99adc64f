"""Marks code of more than 25 lines, so that a page shows its first lines and a button for the rest.

The mark is a class; docs/css/guide.css folds the code and docs/js/guide.js adds the button. Without scripts
and on paper all of the code is shown, and code inside a folded block stays whole.
"""

from site_tools.fences import Fence, fences
from site_tools.markdown import rewriting

MOST_LINES = 25


def _marked(text: str) -> str:
    lines = text.split("\n")
    for fence in fences(text):
        if fence.code.count("\n") >= MOST_LINES and "output" not in fence.classes:
            lines[fence.start] = f"{fence.indent}{fence.marker}{_header(lines[fence.start], fence)}"
    return "\n".join(lines)


def _header(opening: str, fence: Fence) -> str:
    info = opening.strip().lstrip("`~").strip()
    if info.startswith("{"):
        return f"{info[:-1]} .long}}"
    attributes = "".join(f' {name}="{value}"' for name, value in fence.attributes.items())
    return f"{{.{fence.language or 'text'} .long{attributes}}}"


# after sources are included (29), before fences are read (25)
makeExtension = rewriting("folds", _marked, 26)
