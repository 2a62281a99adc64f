"""Answers of strangers: they are graded as `check` grades them, and can neither forge a grade nor do harm."""

import json
import subprocess
import sys

import pytest
import torch
from site_tools import ROOT

from llmguide.coding.sandbox.replies import FORGED
from llmguide.coding.sandbox.worker import encode
from llmguide.exercises import exercise, exercises
from llmguide.exercises._plain_data import pack, unpack
from llmguide.exercises.checking import check
from llmguide.exercises.grading import Grade, compare, observe
from llmguide.exercises.sandbox import REQUIRED, Sandbox, graded

HALF = "def temperature(logits, t):\n    return logits / t\n"
PATCHED = f"""
import sys
for module in list(sys.modules.values()):
    if hasattr(module, "same"):
        module.same = lambda *_: True
{HALF.replace("/", "*")}"""
LADDER = (ROOT / "docs" / "_data" / "answers" / "ladder.py").read_text(encoding="utf-8")


def sent(value):
    """What arrives of a value that a fork sends."""
    return json.loads(json.dumps(encode(pack(value))))


def test_what_exercises_observe_arrives_whole():
    for name, asked in exercises().items():
        results = observe(asked, asked.solution, timeout=600)
        assert graded(asked, {"results": sent(results)}).passed, name


@pytest.mark.parametrize("name", ["attention", "bits", "train", "kv-cache", "lm-loss", "encode"])
def test_mistakes_are_named_as_without_the_sandbox(name):
    asked = exercise(name)
    for mistake in asked.mistakes:
        results = observe(asked, mistake.mutant, timeout=600)
        assert graded(asked, {"results": sent(results)}) == compare(asked, results)


def test_values_of_other_libraries_count_as_the_numbers_they_are():
    numpy = pytest.importorskip("numpy")
    assert unpack(pack(numpy.float32(0.5))) == torch.tensor(0.5)
    assert unpack(pack(numpy.eye(2))).equal(torch.eye(2, dtype=torch.float64))
    assert unpack(pack((torch.Size([2, 3]), {"a": torch.zeros(0, 3)})))[0] == (2, 3)
    assert unpack(pack(torch.zeros(0, 3))).shape == (0, 3)


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"results": 3},
        {"results": []},
        {"results": {"dict": [["tensor", {"tuple": ["nothing", {"tuple": [1]}, [1]]}]]}},
        {"results": [{"dict": [["tensor", {"tuple": ["float32", {"tuple": [9]}, [1]]}]]}]},
        {"results": {"int": "g"}},
        {"failure": [1, 2]},
        {"failure": "temperature: right."},
        {"passed": True, "message": "temperature: right."},
    ],
)
def test_a_forged_reply_does_not_pass(reply):
    for name in ("temperature", "train"):
        result = graded(exercise(name), reply)
        assert not result.passed
        assert FORGED in result.message


def test_a_failure_cannot_pass_or_control_the_terminal():
    reply = {"failure": ["temperature: right.\x1b[2J\nhint\r", "none\x07"]}
    result = graded(exercise("temperature"), reply)
    assert (result.passed, result.message, result.mistake) == (
        False,
        "temperature: right.\\x1b[2J\nhint\\r",
        "none\\x07",
    )


def test_answers_are_graded_as_in_this_process(sandbox):
    for source in (
        HALF,
        HALF.replace("/", "*"),
        "def heat():\n    ...",
        "x = (",
        "def temperature(a, b): a / 'c'",
    ):
        result, wanted = sandbox.grade("temperature", source), check("temperature", source)
        assert result.passed == wanted.passed
        assert result.mistake == wanted.mistake
        assert result.message.split("\n")[0] == wanted.message.split("\n")[0]


def test_answers_train_and_call_other_exercises(sandbox):
    for name in ("train", "kv-cache", "dpo-loss"):
        assert sandbox.grade(name, LADDER).passed, name


def test_an_answer_may_need_the_reader_s_own_earlier_answers(sandbox):
    own = LADDER.replace(
        "def token_logprobs(ids, weights, n_heads)", "def token_logprobs(ids, weights, n_heads, up=1)"
    )
    loss = (
        "def lm_loss(ids, weights, n_heads):\n    return -token_logprobs(ids, weights, n_heads, 1).mean()\n"
    )
    assert sandbox.grade("lm-loss", loss, {"token-logprobs": own, "lm-loss": loss}).passed
    assert not sandbox.grade("lm-loss", loss).passed
    right = loss.replace(", 1)", ")")
    assert sandbox.grade("lm-loss", right, {"token-logprobs": "def token_logprobs(*_): return 1 / 0"}).passed


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("open('/etc/passwd')", "PermissionError"),
        ("open('{marker}', 'w')", "PermissionError"),
        ("import socket; socket.create_connection(('127.0.0.1', 9))", "PermissionError"),
        ("import subprocess; subprocess.run(['id'])", "Error"),
        ("import os; os.kill(os.getppid(), 9)", "Error"),
        ("raise ValueError(__import__('os').environ.get('SECRET', 'hidden'))", "ValueError: hidden"),
        ("import os; os._exit(0)", "the process ended before it sent its results"),
        ("x = bytearray(8 << 30)", "MemoryError"),
        (
            "from llmguide.exercises import exercise\ntemperature = exercise('temperature').solution",
            "imports llmguide",
        ),
        ("def temperature(logits, t): return object()", "a value of type object cannot be compared"),
        ("def temperature(logits, t): return 'a' * 2_000_000", "the limit is 1,048,576"),
        (PATCHED, "multiplied by the temperature"),
        ("import os\nos.write(3, b'{\"results\": [1]}\\n')\nos._exit(0)", FORGED),
    ],
)
def test_an_answer_can_neither_do_harm_nor_change_its_grade(source, why, sandbox, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "known")
    marker = tmp_path / "marker"
    result = sandbox.grade("temperature", source.replace("{marker}", str(marker)))
    assert not result.passed
    assert why in result.message
    assert not marker.exists()


def test_an_answer_that_never_ends_is_ended(sandbox, monkeypatch):
    monkeypatch.setattr("llmguide.exercises.sandbox.LIMIT_S", 1)
    for call in ("time.sleep(99)", "sum(range(10**6))"):
        loop = f"while True:\n        try: {call}\n        except BaseException: pass"
        result = sandbox.grade("temperature", f"import time\ndef temperature(logits, t):\n    {loop}")
        assert "has not finished after 1 seconds" in result.message


def test_a_stopped_answer_is_not_run_again_with_the_reader_s_own_functions(sandbox, monkeypatch):
    runs = []

    def run(*arguments):
        runs.append(arguments)
        return Grade(False, "", "stopped" if len(runs) == 1 else "")

    monkeypatch.setattr(sandbox, "_run", run)
    for n_runs in (1, 3):
        sandbox.grade("lm-loss", "", {"token-logprobs": "x = 1"})
        assert len(runs) == n_runs


def test_it_is_said_where_there_is_no_sandbox(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(RuntimeError, match="use Linux, a container or WSL 2, not darwin"), Sandbox():
        pass


def test_a_process_that_cannot_start_says_why(monkeypatch):
    monkeypatch.setattr("llmguide.exercises.sandbox._PROGRAM", "raise SystemExit('no torch here')")
    with pytest.raises(RuntimeError, match="the sandbox has ended: no torch here"), Sandbox():
        pass
    monkeypatch.undo()


def test_a_killed_process_is_told_from_a_wrong_answer(monkeypatch):
    program = (
        "import json, os, socket, sys; control = socket.socket(fileno=int(sys.argv[2])); control.send(b'x');"
        "socket.recv_fds(control, 4096, 1); os._exit(1)"
    )
    monkeypatch.setattr("llmguide.exercises.sandbox._PROGRAM", program)
    with Sandbox() as broken, pytest.raises(RuntimeError, match="the sandbox has ended"):
        broken.grade("temperature", HALF)
    assert isinstance(broken._process, subprocess.Popen)
    assert broken._process.poll() is not None


def test_a_missing_layer_is_refused(sandbox, monkeypatch):
    layers = dict.fromkeys(REQUIRED, "off")
    monkeypatch.setattr("llmguide.exercises.sandbox._Wire.receive", lambda *_: {"layers": layers})
    with pytest.raises(RuntimeError, match=r"lacks required layers of the sandbox: {'limits': 'off'"):
        sandbox.grade("temperature", HALF)
