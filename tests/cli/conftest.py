import json
import shutil
import signal

import pytest

from llmguide.cli.main import main


@pytest.fixture(scope="session")
def short_runs(tmp_path_factory):
    """A policy and a reward model of the tiny world, of few steps."""
    folder = tmp_path_factory.mktemp("tiny")
    assert main(["sft", "--output", str(folder / "sft"), "--n-steps", "40"]) == 0
    assert main(["reward", "--output", str(folder / "reward"), "--n-steps", "30"]) == 0
    return folder


@pytest.fixture
def runs(short_runs, tmp_path):
    """A copy of them, to start other runs from."""
    return shutil.copytree(short_runs, tmp_path / "runs")


@pytest.fixture
def written(tmp_path):
    """Writes rows as a file of JSON lines, and returns its name."""

    def write(rows, name="rows.jsonl"):
        path = tmp_path / name
        path.write_text("\n".join(map(json.dumps, rows)))
        return str(path)

    return write


@pytest.fixture(scope="session")
def chat_run(tmp_path_factory):
    """A run folder with a small model that has been taught a few conversations of text."""
    folder = tmp_path_factory.mktemp("chat")
    rows = [{"prompt": f"What is {i} plus 1?", "completion": f"It is {i + 1}."} for i in range(20)]
    (folder / "talks.jsonl").write_text("\n".join(map(json.dumps, rows)))
    sizes = ["--n-layers", "1", "--d-model", "16", "--n-heads", "2", "--vocab-size", "300"]
    args = ["--data", str(folder / "talks.jsonl"), "--output", str(folder / "run"), "--n-steps", "4"]
    assert main(["sft", *args, *sizes, "--context-length", "64"]) == 0
    return folder / "run"


@pytest.fixture
def heeded_ctrl_c():
    """Processes that heed Ctrl-C also where a shell started the tests with &, which lets them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
