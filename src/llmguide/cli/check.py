"""``llmguide check``: evaluate a run of a project again, and pass or fail it."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated

import tyro

from llmguide.projects import MODULES
from llmguide.projects.acceptance import verdict

DESCRIPTION = """\
Check a run of llmguide project: its models are evaluated again on held-out data. The exit
status is 0 if the run passes, and 1 if not.

Examples:
  llmguide check character-model
  llmguide check character-model runs/second"""


def _check_of(name: str) -> Callable[..., None]:
    check = import_module(f"llmguide.projects.{MODULES[name]}").check

    def command(
        folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")] = Path("runs") / name,
    ) -> None:
        """Evaluate a run of a project again, and exit with status 1 if it fails.

        Args:
            folder: Run folder.
        """
        if not verdict(f"{name}: {folder}", check(folder)):
            raise SystemExit(1)

    return command


COMMAND = {name: _check_of(name) for name in MODULES}
