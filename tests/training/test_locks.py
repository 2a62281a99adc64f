import subprocess
import sys

import pytest
from tests.post_training.rl.test_trainer_distributed import PROMPTS, learner
from tests.training.small_run import T, new_model, some_text

from llmguide.cli.main import main
from llmguide.runs.folder import claim
from llmguide.training import distributed_checkpoint, locks
from llmguide.training.config import TrainConfig
from llmguide.training.locks import HOLDER, NAME, lock, locked
from llmguide.training.train import train

OTHER = """
import sys
from llmguide.training.locks import lock
lock(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the folder until it is killed."""
    command = [sys.executable, "-c", OTHER, str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_refused_and_told_who_is_there_until_the_first_dies(
    tmp_path, other, capsys, monkeypatch
):
    reads = []
    monkeypatch.setattr(distributed_checkpoint, "load_latest", lambda *_: reads.append(_))
    with pytest.raises(ValueError, match=f"in use by a run in process {other.pid}; wait"):
        lock(tmp_path)
    assert main(["sft", "--output", str(tmp_path)]) == 1
    assert f"process {other.pid}" in capsys.readouterr().err
    for run in (
        lambda: train(new_model(), some_text(), TrainConfig(n_steps=1, context_length=T), folder=tmp_path),
        lambda: learner("grpo").train(PROMPTS, folder=tmp_path),
    ):
        with pytest.raises(ValueError, match=f"process {other.pid}"):
            run()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        NAME,
        HOLDER,
    ]  # refused before anything was written
    assert not reads  # or read: the other process may save a later step before it ends
    other.kill()
    other.wait()
    lock(tmp_path)


def test_a_process_does_not_lock_itself_out_and_a_block_gives_the_folder_back(tmp_path):
    with locked(tmp_path), locked(tmp_path):
        pass
    assert another_process_locks(tmp_path)


def test_training_does_not_give_back_the_folder_that_a_command_has_claimed(tmp_path):
    """A POSIX lock ends when a process closes any descriptor of the file; this one must not."""
    claim(tmp_path, {})
    train(new_model(), some_text(), TrainConfig(n_steps=1, context_length=T), folder=tmp_path)
    assert not another_process_locks(tmp_path)


def test_the_tests_above_have_left_no_lock():
    """One file a run would stay open in a worker of the tests, more than a hundred in all."""
    assert not locks._until_exit


def another_process_locks(folder) -> bool:
    command = [sys.executable, "-c", OTHER, str(folder)]
    run = subprocess.run(command, input="", capture_output=True, text=True, check=False)
    assert run.returncode == 0 or "is in use by a run in process" in run.stderr
    return run.stdout == "held\n"
