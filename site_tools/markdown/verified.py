"""Adds, at the foot of each page that computes something, a folded note on the run behind its outputs.

Nothing in the page asks for it: the run is found by the hash of the page's code and outputs, and of the
package. A page whose code or outputs were changed since, as happens while one writes, has no such run and no
note.
"""

from typing import Any

from site_tools.cells.run_pages import run_of
from site_tools.markdown import rewriting


def _noted(text: str) -> str:
    record = run_of(text)
    return text if record is None else "\n".join([text, "", *note(record)])


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


# before any that changes lines (30 and less)
makeExtension = rewriting("verified", _noted, 100)
