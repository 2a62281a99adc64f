"""The site as a web server sends it.

Apart from `site_tools.checks.check_site`, whose caches hold every page: a test that imports them is repeated
when one of the pages changes (`tests/kept`).
"""

import gzip
from pathlib import Path

# The folder that the site is served from; 404.html, which is shown at any depth, has absolute links into it.
BASE = "/llmguide/"


def compressed(path: Path) -> int:
    """Size of a file as a web server sends it."""
    return len(gzip.compress(path.read_bytes(), mtime=0))
