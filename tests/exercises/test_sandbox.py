"""Answers of strangers: they are graded as `check` grades them, and can neither forge a grade nor do harm."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from site_tools import ROOT

from llmguide.coding.sandbox.replies import FORGED
from llmguide.coding.sandbox.worker import encode
from llmguide.exercises import exercise, exercises
from llmguide.exercises._plain_data import pack, unpack
from llmguide.exercises.checking import check
from llmguide.exercises.grading import Grade, compare, observe
from llmguide.exercises.sandbox import LEAST_S, MOST_S, REQUIRED, Sandbox, _Fork, graded, limit_of

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


@pytest.mark.parametrize(("call", "clock_s"), [("time.sleep(99)", 1), ("sum(range(10**6))", 30)])
def test_an_answer_that_never_ends_is_ended(call, clock_s, sandbox, monkeypatch):
    monkeypatch.setattr("llmguide.exercises.sandbox.limit_of", lambda _: 1)
    monkeypatch.setattr("llmguide.exercises.sandbox.CLOCK_S", clock_s)
    loop = f"while True:\n        try: {call}\n        except BaseException: pass"
    result = sandbox.grade("temperature", f"import time\ndef temperature(logits, t):\n    {loop}")
    assert "has not finished after 1 seconds" in result.message
    assert result.mistake == "stopped"


def test_an_answer_may_take_longer_where_the_solution_does(sandbox, monkeypatch):
    slow = replace(exercise("bits"), name="slow", solution=lambda p: sum(range(4_000_000)))
    assert LEAST_S < limit_of(exercise("bits")) < limit_of(slow) <= MOST_S
    busy = f"import time\nwhile time.process_time() < 1.5: pass\n{HALF}"
    for limit_s in (1, 3):
        monkeypatch.setattr("llmguide.exercises.sandbox.limit_of", lambda _, limit_s=limit_s: limit_s)
        assert sandbox.grade("temperature", busy).passed == (limit_s > 1.5)


def test_a_stopped_answer_is_not_run_again_with_the_reader_s_own_functions(sandbox, monkeypatch):
    runs = []

    def run(*arguments):
        runs.append(arguments)
        return Grade(False, "", "stopped" if len(runs) == 1 else "")

    monkeypatch.setattr(_Fork, "run", run)
    for n_runs in (1, 3):
        sandbox.grade("lm-loss", "", {"token-logprobs": "x = 1"})
        assert len(runs) == n_runs


# ---- one student and the next ------------------------------------------------------------------------------

HOSTILE = f"""
import builtins, os, sys, threading, torch
torch.set_default_dtype(torch.float64)
torch.manual_seed(1)
torch.Tensor.__truediv__ = torch.Tensor.__mul__
builtins.abs = builtins.float = builtins.len = lambda *_: 7
for module in list(sys.modules.values()):
    for name in ("same", "observe", "observe_source", "with_hidden_tests", "exercise"):
        if hasattr(module, name):
            setattr(module, name, lambda *_: 1 / 0)
open("left-behind.py", "w").write("stolen = 1")
for folder in ("/tmp", "/dev/shm", "/var/tmp"):
    try: open(folder + "/left-behind.py", "w").write("stolen = 1")
    except OSError: pass
threading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()
{HALF}"""
FINDER = f"""
import os, sys, torch
assert torch.get_default_dtype() == torch.float32
assert not os.listdir(".")
for folder in (".", "/tmp", "/dev/shm", "/var/tmp"):
    assert not os.path.exists(folder + "/left-behind.py"), folder
{HALF}"""


def test_what_an_answer_does_to_its_process_and_its_files_does_not_reach_the_next_one(sandbox):
    before = sandbox.grade("temperature", HALF, seed=1), sandbox.grade("temperature", "x = 1", seed=1)
    sandbox.grade("temperature", HOSTILE, seed=1)
    assert sandbox.grade("temperature", FINDER, seed=1).passed
    assert (
        sandbox.grade("temperature", HALF, seed=1),
        sandbox.grade("temperature", "x = 1", seed=1),
    ) == before


def test_answers_at_the_same_time_do_not_meet(sandbox):
    """An answer that stays in its sandbox, and another one that looks for it."""
    stays = f"import time\nopen('here', 'w').write('x')\ntime.sleep(2)\n{HALF}"
    looks = f"""
import glob, os, time
time.sleep(1)
assert not glob.glob("../*/here") and not glob.glob("/tmp/judge-*/here") and not os.path.exists("here")
opened = []
processes = [process for process in range(1 << 16) if os.path.exists(f"/proc/{{process}}")]
for process in processes:
    for name in ("mem", "environ", "cwd/here", "root/etc/passwd"):
        try: opened.append(open(f"/proc/{{process}}/{{name}}", "rb"))
        except OSError: pass
assert processes and not opened
{HALF}"""
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda source: sandbox.grade("temperature", source, seed=1), (stays, looks)))
    assert [result.message for result in results] == ["temperature: right."] * 2


def test_an_answer_that_ends_before_its_hidden_tests_does_not_pass(sandbox):
    end = "(time.sleep(0.5), os._exit(0))"
    source = f"import os, threading, time\nthreading.Thread(target=lambda: {end}).start()\n{HALF}"
    slow = source.replace("return", "time.sleep(0.3); return")
    result = sandbox.grade("temperature", slow, seed=1)
    assert not result.passed
    assert "the process ended before it sent its results" in result.message


def test_public_results_sent_again_do_not_pass_the_hidden_tests(sandbox):
    source = f"""
import gc, time
class Twice:
    def __init__(self, end): self.end, self.recv = end, end.recv
    def sendall(self, line):
        self.end.sendall(line)
        time.sleep(0.2)  # so that the judge has read the first one
        self.end.sendall(line)
        self.sendall = lambda line: None
for each in gc.get_objects():
    if type(each).__name__ == "Channel" and type(each._socket).__name__ == "socket":
        each._socket = Twice(each._socket)
{HALF}"""
    assert sandbox.grade("temperature", source).passed
    result = sandbox.grade("temperature", source, seed=1)
    assert result.mistake == "passes only the public tests"
    assert "expected" in result.message


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
    monkeypatch.setattr("llmguide.exercises.sandbox._Fork.receive", lambda *_: {"layers": layers})
    with pytest.raises(RuntimeError, match=r"lacks required layers of the sandbox: {'limits': 'off'"):
        sandbox.grade("temperature", HALF)
