import json
import shutil

import pytest


@pytest.fixture
def killed():
    """Copies a finished run as if it had been killed during a stage: an earlier checkpoint, no result."""

    def kill(folder, copy, stage):
        shutil.copytree(folder, copy)
        (copy / "record.json").unlink()
        for later in (copy / "stages").glob("*.json"):
            if later.stat().st_mtime_ns >= (folder / "stages" / f"{stage}.json").stat().st_mtime_ns:
                later.unlink()
        return copy

    return kill


@pytest.fixture
def results():
    """Reads what a run recorded."""
    return lambda folder: json.loads((folder / "record.json").read_text())["results"]
