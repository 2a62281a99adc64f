import json
import signal
from dataclasses import replace
from importlib.metadata import version

import pytest
import torch
from tests.post_training.rl.test_trainer_distributed import PROMPTS, learner
from tests.training.small_run import T, new_model, some_text

from llmguide.cli import sft
from llmguide.cli.main import main
from llmguide.runs import folder, toy
from llmguide.training.checkpoint import checkpoints, step_of
from llmguide.training.config import TrainConfig
from llmguide.training.interrupts import Interrupts, interrupts
from llmguide.training.losses import batch_loss
from llmguide.training.train import train

CONFIG = TrainConfig(n_steps=12, context_length=T, batch_size=2, checkpoint_every=5)


def test_sigterm_saves_the_step_and_the_run_ends_as_if_it_had_not_happened(tmp_path, caplog):
    calls = []

    def loss(model, batch):
        calls.append(batch)
        if len(calls) == 7:
            signal.raise_signal(signal.SIGTERM)
        return batch_loss(model, batch)

    whole, stopped = new_model(), new_model()
    train(whole, some_text(), CONFIG)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop:
        train(stopped, some_text(), CONFIG, folder=tmp_path, loss=loss)
    assert stop.value.code == 143  # 128 + 15, as a shell reports it
    assert signal.getsignal(signal.SIGTERM) == before
    assert [step_of(path) for path in checkpoints(tmp_path)] == [7, 5]
    resumed = new_model()
    with caplog.at_level("INFO", logger="llmguide.training.train"):
        result = train(resumed, some_text(), CONFIG, folder=tmp_path)
    assert "resumed after step 7 of 12" in caplog.messages
    assert [record.step for record in result.history] == list(range(1, 13))
    assert all(map(torch.equal, whole.parameters(), resumed.parameters()))


def test_a_trainer_of_policies_saves_too(tmp_path, caplog):
    stopped = learner("grpo")
    reward, calls = stopped.reward, []

    def signaling(rollouts):
        calls.append(rollouts)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
        return reward(rollouts)

    stopped.reward = signaling
    stopped.config = replace(stopped.config, n_steps=4, checkpoint_every=4)
    with pytest.raises(SystemExit):
        stopped.train(PROMPTS, folder=tmp_path)
    assert [step_of(path) for path in checkpoints(tmp_path)] == [2]
    again = learner("grpo")
    again.config = stopped.config
    with caplog.at_level("INFO", logger="llmguide.training.train"):
        assert len(again.train(PROMPTS, folder=tmp_path)) == 4
    assert "resumed after step 2 of 4" in caplog.messages


def test_a_second_ctrl_c_stops_at_once():
    signals = Interrupts()
    signals.receive(signal.SIGINT, None)
    signals.receive(signal.SIGTERM, None)  # sent by torchrun to its processes after a Ctrl-C
    assert signals.requested(torch.device("cpu"))
    with pytest.raises(KeyboardInterrupt):
        signals.receive(signal.SIGINT, None)


def test_without_a_folder_signals_are_as_always():
    before = signal.getsignal(signal.SIGTERM)
    with interrupts(deferred=False) as signals:
        assert signal.getsignal(signal.SIGTERM) == before
    assert not signals.requested(torch.device("cpu"))


@pytest.fixture
def heard():
    """Let Ctrl-C interrupt even where the tests run as a shell's background job, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_before_the_first_step_nothing_is_left_and_the_command_says_so(
    number, status, tmp_path, capsys, monkeypatch
):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "Hi", "completion": "Hello"}\n')
    monkeypatch.setattr(folder, "claimed", {})  # other tests may have claimed folders in this process
    monkeypatch.setattr(sft, "open_chat", lambda *_, **__: signal.raise_signal(number))
    before = signal.getsignal(number)
    assert main(["sft", "--data", str(rows), "--output", str(tmp_path / "run")]) == status
    assert signal.getsignal(number) == before
    assert capsys.readouterr().err == (
        "llmguide: stopped before anything was saved; repeat the command to start again\n"
    )
    assert not (tmp_path / "run").exists()


def test_it_says_after_which_step_it_stopped(tmp_path, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(toy, "_save", interrupted)
    assert main(["sft", "--n-steps", "3", "--output", str(tmp_path)]) == 130
    told = "stopped after step 3; repeat the command to resume from the last checkpoint in"
    assert f"llmguide: {told} {tmp_path / 'checkpoints'}\n" in capsys.readouterr().err


def test_the_record_of_a_run_is_complete(tmp_path):
    args = ["sft", "--n-steps", "2", "--seed", "5", "--lr", "0.25", "--output", str(tmp_path / "run")]
    for _ in range(2):
        assert main(args) == 0
    run = json.loads((tmp_path / "run" / "run.json").read_text(), parse_constant=pytest.fail)
    assert (run["seed"], run["training"]["lr"], run["training"]["n_steps"]) == (5, 0.25, 2)
    assert len(run["starts"]) == 2
    assert run["starts"][0]["torch"] == version("torch")
    assert {"command", "commit", "llmguide", "python", "started"} <= run["starts"][1].keys()
