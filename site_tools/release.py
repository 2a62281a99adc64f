"""Check a release against its tag, and print its notes.

Examples::

    python -m site_tools.release v0.1.0      the section of CHANGELOG.md on version 0.1.0
"""

import re
import sys

from llmguide import __version__
from site_tools import ROOT


def notes(changelog: str, tag: str, version: str) -> str:
    """What the changelog says about a version.

    Args:
        changelog: Text of CHANGELOG.md.
        tag: The git tag of the release, such as ``v0.1.0``.
        version: The version of the package.

    Raises:
        ValueError: The tag is not that of the version, or the changelog has no section on it.
    """
    if tag != f"v{version}":
        raise ValueError(
            f"the tag {tag} is not v{version}; __version__ in src/llmguide/__init__.py has to be raised first"
        )
    heading = rf"^## \[?{re.escape(version)}\]?(?: - \d{{4}}-\d\d-\d\d)?$"
    match = re.search(rf"{heading}\n(?P<notes>.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if match is None or not match["notes"].strip():
        raise ValueError(f"CHANGELOG.md: no section '## {version} - YYYY-MM-DD'; rename '## Unreleased'")
    return match["notes"].strip()


if __name__ == "__main__":
    try:
        print(notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), sys.argv[1], __version__))
    except ValueError as error:
        sys.exit(str(error))
