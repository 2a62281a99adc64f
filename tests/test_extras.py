"""Modules of an extra are imported without warnings that a reader of a notebook cannot use."""

import subprocess
import sys

NOTEBOOK = """
import sys
from types import SimpleNamespace

sys.modules["ipykernel.zmqshell"] = SimpleNamespace()  # by this tqdm knows a notebook
sys.modules["IPython"] = SimpleNamespace(get_ipython=object)
sys.modules["ipywidgets"] = None  # not installed, as with JupyterLab alone
"""


def warned(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK + code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stderr


def test_a_progress_bar_in_a_notebook_without_widgets_does_not_warn() -> None:
    assert "IProgress not found" in warned("import tqdm.auto")
    mine = "from llmguide.extras import import_extra\nimport_extra('tqdm.auto', 'packaged', 'a model')"
    assert not warned(mine)
