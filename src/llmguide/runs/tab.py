"""What a training run in the reader's tab needs besides `llmguide.training.train`.

A tab can be closed at any time, has no terminal, and its files are out of the reader's reach. So a run plots
its loss curve under the cell, writes its checkpoints to a folder that the browser keeps, and offers the files
that it made for download. Outside the tab the same code runs on plain folders, and plots nothing.

The tab keeps what is below `KEPT` (``runtime/kept_files.mjs``) and shows values of ``session.emit``
(``runtime/output.js``).
"""

import base64
import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from llmguide.training import checkpoint

KEPT = Path("/kept")  # exists in the tab only


def kept_folder(name: str, *content: Any) -> Path:
    """Return the checkpoint folder of a run, which outlives the tab.

    Another run of the same name, with other content, is deleted, so that training starts from scratch with
    new examples.

    Args:
        name: Name of the run.
        content: Values that the run depends on, such as its examples, of types that JSON can hold.

    Returns:
        The folder, in the browser's storage or, outside the tab, below the working directory.
    """
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
    folder = (KEPT if KEPT.is_dir() else Path("kept")) / name
    for other in folder.iterdir() if folder.is_dir() else ():
        if other.name != digest:
            shutil.rmtree(other)
    return folder / digest


def offer_files(folder: str | Path) -> None:
    """Print name and size of each file in a folder, and show a link to download it under the cell.

    Args:
        folder: Folder whose files to offer; those in subfolders are left out.
    """
    for path in sorted(Path(folder).iterdir()):
        if path.is_file():
            content = path.read_bytes()
            print(f"{path.name}, {len(content) / 1e6:.1f} MB")
            _emit({"file": path.name, "base64": base64.b64encode(content).decode()})


class LossCurve:
    """Plots the loss under the cell during a run; a logger for `llmguide.training.train`.

    Args:
        folder: Checkpoint folder of the run, whose earlier steps are plotted too; None: no earlier steps.

    >>> curve = LossCurve()
    >>> curve.log(1, {"loss": 2.5})
    >>> curve.points
    [(1, 2.5)]
    """

    def __init__(self, folder: str | Path | None = None):
        state = None if folder is None else checkpoint.load_latest(folder)
        history = [] if state is None else state["history"]
        self.points = [(step, loss) for step, loss, *_ in history]

    def log(self, step: int, values: dict[str, float]) -> None:
        """Add a point."""
        self.points.append((step, values["loss"]))
        text = f"Training loss by step, {values['loss']:.2f} at step {step}"
        _emit({"chart": {"label": text, "x": "step", "y": "training loss", "points": self.points[:]}})

    def text(self, step: int, text: str) -> None:
        """Print a sample."""
        print(f"step {step}: {text}")


def _emit(value: Any) -> None:
    session: Any = sys.modules.get("session")  # of a page
    if session is not None:
        session.emit(value)
