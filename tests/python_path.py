"""The variables of a Python program that a test starts."""

import os
from pathlib import Path


def importing_from(*folders: Path | str) -> dict[str, str]:
    """Have a Python import from some folders first.

    What PYTHONPATH names already stays behind them: with ``--keep``, the folder of the file that notes what
    the program reads (tests/kept). A program without it counts as one that may have read every file.
    """
    places = [*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(places)}
