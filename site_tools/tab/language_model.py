"""Lay out the language model that pages run in the reader's tab.

The folder is that of `llmguide.load("smollm2-135m-instruct-q4")`, without the hashes of the cache.
"""

import shutil
import sys
from pathlib import Path

from llmguide.files import replacing
from llmguide.runs.packaged import Q4, unpacked
from site_tools import CACHE

NAME = "smollm2-135m-instruct"
FOLDER = CACHE / "models" / NAME


def model_files() -> list[Path]:
    """The files of the model, made if they are missing; none, with a message, if its package is missing."""
    if not FOLDER.is_dir():
        try:
            source = unpacked(NAME + Q4)
        except (ConnectionError, ModuleNotFoundError) as error:
            print(f"the site has no language model: {error}", file=sys.stderr)
            return []
        FOLDER.parent.mkdir(parents=True, exist_ok=True)
        with replacing(FOLDER) as unfinished:
            unfinished.mkdir()
            for path in _contents(source):
                shutil.copyfile(path, unfinished / path.name)
    return _contents(FOLDER)


def _contents(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in {".json", ".safetensors"})
