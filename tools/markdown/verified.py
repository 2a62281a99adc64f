"""Adds, at the foot of each page that computes something, a folded note on the run behind its outputs.

Nothing in the page asks for it: the run is found by the hash of the page's code and outputs, and of the
package. A page whose code or outputs were changed since, as happens while one writes, has no such run and no
note.
"""

from typing import Any

from markdown import Markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor

from tools.pages import run_of


class VerifiedExtension(Extension):
    """Registers the preprocessor."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Add the preprocessor before any that changes lines (30 and less)."""
        md.preprocessors.register(_Note(md), "verified", 100)


class _Note(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        record = run_of("\n".join(lines))
        return lines if record is None else [*lines, "", *note(record)]


def note(record: dict[str, Any]) -> list[str]:
    """The folded note, given the record of a run."""
    commit = f" at commit {record['commit'].rstrip('+')}" if record["commit"] else ""
    changed = " with uncommitted changes" if record["commit"].endswith("+") else ""
    cells = f"the {record['cells']} code cells and " if record["cells"] else ""
    versions = f"Python {record['python']}, torch {record['torch']} and llmguide {record['llmguide']}"
    code = f"(SHA-256 of the code: `{record['code'][:12]}`…)"
    sentences = (
        f"On {record['date']} {cells}the numbers in the text of this page were computed by {versions}{commit}"
        f"{changed} {code}. If the code has changed, a build runs it again, and fails where a stored output "
        "differs: text and integers exactly, other numbers by more than one unit of their last digit."
    )
    return ['??? verified "How this page is verified"', "", f"    {sentences}"]


def makeExtension(**options: Any) -> VerifiedExtension:
    """Entry point that Python-Markdown looks for."""
    return VerifiedExtension(**options)
