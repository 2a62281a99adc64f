"""Runs that are interrupted or killed, and go on to the weights of one that is not."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.training.small_run import QUICK, SMALL, T, equal_weights, new_model, some_text

from llmguide.data.tokens.windows import Batch, Windows
from llmguide.models import build
from llmguide.training.checkpoint import checkpoints, load
from llmguide.training.monitor import JsonLinesLogger
from llmguide.training.train import train


@pytest.mark.parametrize("rule", ["adamw", "muon"])
def test_an_interrupted_run_ends_with_the_same_weights(tmp_path, rule):
    config = replace(QUICK, optimizer=rule, eval_every=4)
    validation = some_text(50, seed=2)
    whole, broken = new_model(dropout=0.2), new_model(dropout=0.2)
    torch.manual_seed(7)
    expected = train(whole, some_text(), config, validation=validation)

    class Interrupted(Windows):
        def batch(self, first: int, size: int) -> Batch:
            if first == 7 * config.batch_size:
                raise KeyboardInterrupt
            return super().batch(first, size)

    torch.manual_seed(7)
    with pytest.raises(KeyboardInterrupt):
        train(broken, Interrupted(some_text(), T), config, validation=validation, folder=tmp_path)
    torch.manual_seed(8)
    again = build(replace(SMALL, dropout=0.2))  # other weights and other random numbers
    result = train(again, some_text(), config, validation=validation, folder=tmp_path)
    assert equal_weights(whole, again)
    assert [r.loss for r in result.history] == [r.loss for r in expected.history]
    assert [r.val_loss for r in result.history] == [r.val_loss for r in expected.history]
    assert result.n_tokens == expected.n_tokens == 10 * 4 * T

    finished = new_model()
    assert train(finished, some_text(), config, folder=tmp_path).history == result.history
    assert equal_weights(finished, whole)


class KilledOnce(JsonLinesLogger):
    """A logger whose process dies before it writes the record of one step."""

    killed_at: int | None = 6

    def log(self, step: int, values: dict[str, float]) -> None:
        if step == self.killed_at:
            KilledOnce.killed_at = None
            raise KeyboardInterrupt
        super().log(step, values)


def test_no_record_of_a_checkpointed_step_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(KilledOnce, "killed_at", 6)  # QUICK.checkpoint_every is 3
    config, log = replace(QUICK, log_every=1), tmp_path / "log.jsonl"
    with pytest.raises(KeyboardInterrupt):
        train(new_model(), some_text(), config, folder=tmp_path / "run", logger=KilledOnce(log))
    train(new_model(), some_text(), config, folder=tmp_path / "run", logger=KilledOnce(log))
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(1, 11))


# Processes that die at random moments: before a step, while they write a checkpoint, before or after it gets
# its name. Each goes on where the one before was killed; a checkpoint is damaged on the way.
KILLED = """
import os, random, signal, sys
import torch
from dataclasses import replace
from llmguide.training import checkpoint
from llmguide import files
from llmguide.training.train import train
from tests.training.small_run import QUICK, new_model, some_text
from llmguide.data.tokens.windows import Windows

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def half(state, file):
    file.write(b"PK" + bytes(5_000))
    file.flush()
    die()

def deadly(place, name, death, calls):
    function = getattr(place, name)
    left = iter(range(calls))
    setattr(place, name, lambda *a, **k: function(*a, **k) if next(left, None) is not None else death(*a))

moments = [
    (Windows, "batch", die),
    (torch, "save", half),
    (os, "fsync", die),
    (checkpoint.Path, "replace", die),
    (files, "sync_folder", die),
]
chance = random.Random(5)
chance.shuffle(moments)
for moment in moments:
    child = os.fork()
    if child == 0:
        deadly(*moment, calls=chance.randrange(1, 4))
        model = new_model(dropout=0.2)
        torch.manual_seed(7)
        train(model, some_text(), replace(QUICK, checkpoint_every=1, n_steps=16), folder=sys.argv[1])
        os._exit(1)
    assert signal.SIGKILL == os.waitpid(child, 0)[1], moment
    chance.random()
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL and fork")
def test_a_run_killed_at_random_moments_ends_with_the_same_weights(tmp_path):
    config = replace(QUICK, checkpoint_every=1, n_steps=16)
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    subprocess.run(command, check=True, timeout=120, cwd=Path(__file__).parents[2])
    newest = checkpoints(tmp_path)[0]
    assert 3 <= len(load(newest)["history"]) < 16
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    resumed, whole = new_model(dropout=0.2), new_model(dropout=0.2)
    with pytest.warns(UserWarning, match=f"skipped a checkpoint: {newest} is damaged"):
        result = train(resumed, some_text(), config, folder=tmp_path)
    torch.manual_seed(7)
    expected = train(whole, some_text(), config)
    assert equal_weights(whole, resumed)
    assert [r.loss for r in result.history] == [r.loss for r in expected.history]
