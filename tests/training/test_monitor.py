import json
import logging
import re
import struct
import subprocess
import sys
import time
from statistics import fmean, stdev
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmguide.training import monitor
from llmguide.training.divergence import is_spike
from llmguide.training.monitor import (
    Console,
    JsonLinesLogger,
    Logger,
    Loggers,
    TensorBoardLogger,
    WandbLogger,
    describe,
)
from llmguide.training.utilization import measure_peak_flops

VALUES = {"loss": 2.5, "lr": 1e-3, "grad_norm": 0.5, "tokens_per_s": 1234.0}


def test_numbers_and_texts_are_read_back_from_every_logger(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415

    board, lines = TensorBoardLogger(tmp_path / "board"), JsonLinesLogger(tmp_path / "new" / "log.jsonl")
    both = Loggers(board, lines)
    assert all(isinstance(logger, Logger) for logger in (board, lines, both))
    both.log(3, VALUES)
    both.log(4, {"loss": 2.0, "val_loss": 2.25})
    both.text(4, "To be \u00fcber")
    board.writer.flush()
    events = EventAccumulator(str(tmp_path / "board")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(3, 2.5), (4, 2.0)]
    assert [event.value for event in events.Scalars("val_loss")] == [2.25]
    assert "To be \u00fcber" in events.Tensors("sample/text_summary")[0].tensor_proto.string_val[0].decode()
    records = [json.loads(line) for line in lines.path.read_text(encoding="utf-8").splitlines()]
    times = [record.pop("time") for record in records]
    assert times == sorted(times)
    assert records == [
        {"step": 3, **VALUES},
        {"step": 4, "loss": 2.0, "val_loss": 2.25},
        {"step": 4, "text": "To be \u00fcber"},
    ]


def test_a_run_that_goes_on_appends(tmp_path):
    for step in 1, 2:
        JsonLinesLogger(tmp_path / "log.jsonl").log(step, {"loss": 1.0})
    assert [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").open()] == [1, 2]


def test_a_resumed_run_replaces_the_steps_that_it_repeats(tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415

    (tmp_path / "log.jsonl").write_text("")
    for second, steps in enumerate(((1, 2, 3, 4), (3, 4, 5))):  # killed after a checkpoint of step 2
        monkeypatch.setattr(time, "time", lambda second=second: float(second))  # files are sorted by it
        logger = Loggers(TensorBoardLogger(tmp_path), JsonLinesLogger(tmp_path / "log.jsonl"))
        for step in steps:
            logger.log(step, {"loss": 10.0 * len(steps) + step})
        logger.loggers[0].writer.close()
        with (tmp_path / "log.jsonl").open("a") as file:
            file.write('{"step": 9, "lo')  # half a line
    expected = [(1, 41.0), (2, 42.0), (3, 33.0), (4, 34.0), (5, 35.0)]
    assert [
        (event.step, event.value) for event in EventAccumulator(str(tmp_path)).Reload().Scalars("loss")
    ] == expected
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()[:-1]]
    assert [(row["step"], row["loss"]) for row in rows] == expected


def test_the_time_left_follows_the_steps_of_this_process(monkeypatch):
    now = iter([100.0, 104.0, 160.0, 161.0])
    monkeypatch.setattr(monitor, "perf_counter", lambda: next(now))
    left = monitor.TimeLeft(530)
    assert left.after(500) == ""  # how long this step took is not known
    assert left.after(502) == "  56 s left"  # 2 s a step
    assert left.after(510) == "  2 min left"  # 6 s a step
    assert left.after(530) == ""


def test_without_tensorboard_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match=r'pip install "llmguide\[cli\]"'):
        TensorBoardLogger(tmp_path)


def test_a_resumed_run_goes_on_in_weights_and_biases(tmp_path, monkeypatch):
    calls = []

    class Tracked:
        def log(self, values, *, step):
            calls.append((step, values))

    def init(**options):
        calls.append(options)
        return Tracked()

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    (tmp_path / "run.json").write_text('{"seed": 3}')
    for _ in range(2):
        logger = WandbLogger("a project", tmp_path)
        logger.log(5, {"loss": 2.0})
        logger.text(5, "Once")
    first, *logged = calls[:3]
    assert first["project"] == "a project"
    assert (first["name"], first["dir"], first["config"]) == (tmp_path.name, str(tmp_path), {"seed": 3})
    assert first["resume"] == "allow"
    assert logged == [(5, {"loss": 2.0}), (5, {"sample": "Once"})]
    assert calls[3:] == calls[:3]  # the id, too


@pytest.mark.nightly
def test_an_offline_run_of_weights_and_biases_has_every_step(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="needs pip install wandb")
    from wandb.proto.wandb_internal_pb2 import Record  # noqa: PLC0415

    monkeypatch.setenv("WANDB_MODE", "offline")
    args = ["--n-steps", "4", "--lr", "0.25", "--wandb", "a project", "--output", str(tmp_path / "run")]
    subprocess.run([sys.executable, "-m", "llmguide", "sft", *args], check=True)
    (path,) = tmp_path.glob("run/wandb/offline-run-*/run-*.wandb")
    data = path.read_bytes()
    records, at, record = [], 7, b""  # a log of LevelDB: blocks of 32 KiB, with parts of records
    while at < len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        record += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # a whole record or its last part
            records.append(Record.FromString(record))
            record = b""
    (run,) = [each.run for each in records if each.HasField("run")]
    options = {each.key: json.loads(each.value_json) for each in run.config.update}
    assert (run.project, run.display_name, options["training"]["lr"]) == ("a project", "run", 0.25)
    points = [
        {(item.key or item.nested_key[0]): json.loads(item.value_json) for item in each.history.item}
        for each in records
        if each.HasField("history")
    ]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 4
    assert [(point["_step"], point["loss"]) for point in points] == [
        (line["step"], line["loss"]) for line in lines
    ]


def test_without_wandb_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ImportError, match=r'pip install "llmguide\[wandb\]"'):
        WandbLogger("a project", tmp_path)
    assert not list(tmp_path.iterdir())


def test_lines_go_to_logging_and_nothing_to_the_screen(capsys, caplog):
    def run() -> None:
        with Console(25, every=10) as console:
            for step in range(1, 26):
                console.show(step, VALUES | ({"val_loss": 2.75} if step == 7 else {}))
            console.write("a sample")

    with caplog.at_level(logging.WARNING, logger="llmguide.training.train"):  # the command line sets INFO
        run()
    assert caplog.text == ""
    with caplog.at_level(logging.INFO, logger="llmguide.training.train"):
        run()
    line = "loss 2.5000  lr 1.00e-03  norm 0.50  1,234 tokens/s"
    evaluated = line.replace("  lr", "  val 2.7500  lr")
    expected = [f"step 7/25  {evaluated}", *(f"step {step}/25  {line}" for step in (10, 20, 25)), "a sample"]
    assert [re.sub(r"  \d+ s left$", "", message) for message in caplog.messages] == expected
    assert [message.endswith(" s left") for message in caplog.messages] == [True, True, True, False, False]
    with caplog.at_level(logging.INFO, logger="llmguide.training.train"), Console(2, quiet=True) as console:
        console.show(1, VALUES)
        console.write("of another process")
    assert len(caplog.messages) == len(expected)
    assert capsys.readouterr() == ("", "")


def test_a_bar_goes_to_the_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    with Console(9, done=3) as console:
        console.show(4, VALUES | {"val_loss": 2.75})
        console.write("a [sample]")
    written = capsys.readouterr()
    assert written.out == ""
    for part in "3/9", "4/9", "step 4/9  loss 2.5000  val 2.7500", "a [sample]", "1,234 tokens/s":
        assert part in written.err


def test_the_mfu_is_told_if_it_is_known():
    assert describe(VALUES | {"mfu": 0.374}).endswith("1,234 tokens/s  MFU 37%")


def test_the_metrics_of_a_policy_are_told():
    metrics = {"reward": 1.25, "policy_loss": 0.5, "kl": 0.012345, "length": 12.0}
    assert describe(metrics) == "reward 1.25  kl 0.0123  length 12"


@given(st.lists(st.floats(0, 20), min_size=20, max_size=50), st.floats(0, 200))
@settings(max_examples=50, deadline=None)
def test_a_spike_is_six_deviations_and_a_tenth_above_the_last_twenty(losses, loss):
    last = losses[-20:]
    assert is_spike(losses, loss) == (loss > fmean(last) + max(6 * stdev(last), 0.1))
    assert not is_spike(losses[:19], loss)


def test_a_falling_and_a_noisy_loss_raise_no_alarm():
    noise = np.random.default_rng(0).normal(0, 0.05, 2000)
    losses = (3 + 4 * np.exp(-np.arange(2000) / 50) + noise).tolist()
    assert not any(is_spike(losses[:i], losses[i]) for i in range(len(losses)))
    assert is_spike(losses, losses[-1] + 0.6)


def test_a_loss_near_zero_is_no_spike_when_one_batch_is_harder():
    losses = np.random.default_rng(0).exponential(0.001, 200).tolist()
    assert not is_spike(losses, 0.09)
    assert is_spike(losses, 0.12)


def test_the_peak_is_that_of_matrix_products():
    assert 1e8 < measure_peak_flops() < 1e14
