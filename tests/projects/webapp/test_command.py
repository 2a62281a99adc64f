"""The command ``llmguide app``, before a model that no test asks."""

import subprocess
import sys
import urllib.error
import urllib.request

import pytest


@pytest.fixture
def started(tmp_path):
    """Starts the command with a new folder for its run; returns the link that it prints, and the folder."""
    processes = []

    def start(*options):
        args = [
            "creative-writing",
            "--run",
            tmp_path / "run",
            "--url",
            "http://127.0.0.1:9/v1",
            "--model",
            "none",
        ]
        command = [sys.executable, "-m", "llmguide", "app", *args, "--port", "0", "--no-browser", *options]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return processes[-1].stdout.readline().split()[-1], tmp_path / "run"

    yield start
    for process in processes:
        process.terminate()
        process.communicate()


def status(address, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"{address}/api/documents", headers=headers)
        ) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_the_link_has_the_token_that_only_its_owner_reads(started):
    link, run = started()
    address, _, token = link.partition("/#token=")
    assert (run / "app.token").read_text() == token
    assert (status(address), status(address, token)) == (401, 200)
    again, _ = started()
    assert again.partition("/#token=")[2] == token


def test_a_public_one_has_none(started):
    address, run = started("--public")
    assert status(address) == 200
    assert not (run / "app.token").exists()
