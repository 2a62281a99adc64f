"""In a tab, which has no processes, the judge comes to the verdicts that it comes to in a box."""

import os
import sys
from dataclasses import replace

import pytest

from llmguide.coding import CheckTests, FunctionTests, ProgramTests, judge
from llmguide.coding.sandbox.isolation import LAYERS
from llmguide.coding.sandbox.judging import outputs, protections

DOUBLE = FunctionTests("double", [([2], 4), ([-1], -2), ([[1]], [1, 1])])
ADD = ProgramTests([("1 2\n", "3\n"), ("-1 1\n", "0\n")])
CHECK = CheckTests(
    "def check(candidate):\n    assert candidate(2) == 4\n    try:\n        candidate(None)\n"
    "    except TypeError:\n        pass\n    assert candidate(x=-1) == -2\n",
    "double",
)
CASES = {
    "right": ("def double(x): return x + x", DOUBLE),
    "wrong": ("def double(x): return x * x", DOUBLE),
    "prints": ("def double(x):\n    print('hello', x)\n    return x", DOUBLE),
    "method": ("class Solution:\n    def double(self, x): return 2 * x", DOUBLE),
    "no function": ("def triple(x): return 3 * x", DOUBLE),
    "does not parse": ("def double(x:\n    return x", DOUBLE),
    "raises": ("def double(x):\n    return x.missing", DOUBLE),
    "exits": ("import sys\ndef double(x): sys.exit(3)", DOUBLE),
    "ends the process": ("import os\nos._exit(0)", DOUBLE),
    "ends the process when called": (
        "import os\ndef double(x):\n    try: os._exit(3)\n    except BaseException: return 4",
        DOUBLE,
    ),
    "recurses": ("def double(x):\n    try: return double(x)\n    except RecursionError: return 1", DOUBLE),
    "tuple for a list": ("def double(x): return (x + x) if x != [1] else (1, 1)", DOUBLE),
    "not plain": ("def double(x): return object()", DOUBLE),
    "too large": ("def double(x): return 'x' * (1 << 21)", DOUBLE),
    "integer without end": ("def double(x): return 1 << (1 << 16)", DOUBLE),
    "empty environment": ("import os\ndef double(x): return os.environ.get('HOME') or x + x", DOUBLE),
    "never ends": ("def double(x):\n    while True: pass", DOUBLE),
    "prints without end": ("def double(x):\n    while True: print('x' * 1000)", DOUBLE),
    "program": ("a, b = map(int, input().split())\nprint(a + b)", ADD),
    "program is wrong": ("print(3)", ADD),
    "program reads all": ("import sys\nprint(sum(map(int, sys.stdin.read().split())))", ADD),
    "program raises": ("input()\ninput()", ADD),
    "program exits": ("print(sum(map(int, input().split())))\nraise SystemExit", ADD),
    "program fails": ("raise SystemExit('no')", ADD),
    "program never ends": ("while True: pass", ADD),
    "check passes": ("def double(x): return x + x", CHECK),
    "check fails": ("def double(x): return 4 if x is not None else x + x", CHECK),
    "check meets an error": ("def double(x): raise KeyError(x)", CHECK),
    "check meets the end": ("import os\ndef double(x): os._exit(1)", CHECK),
    "check meets the end of time": ("def double(x):\n    while True: pass", CHECK),
    "check meets what cannot be read": ("def double(x): return 1 << (1 << 16)", CHECK),
}


@pytest.fixture
def tab(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the judge takes for a tab."""
    monkeypatch.setattr(sys, "_emscripten_info", (), raising=False)


@pytest.mark.parametrize(("solution", "tests"), CASES.values(), ids=CASES)
def test_verdicts_are_those_of_a_box(solution, tests, monkeypatch):
    limit = 0.5 if "while True: pass" in solution else 20.0
    boxed = judge(solution, tests, timeout_s=limit)
    before = dict(os.environ), sys.gettrace(), sys.stdin, sys.stdout
    monkeypatch.setattr(sys, "_emscripten_info", (), raising=False)
    alone = judge(solution, tests, timeout_s=limit)
    assert (dict(os.environ), sys.gettrace(), sys.stdin, sys.stdout) == before
    shown = {"seconds": 0.0, "stdout": ""} if boxed.status == "output_limit" else {"seconds": 0.0}
    assert replace(alone, **shown) == replace(boxed, **shown)


@pytest.mark.usefixtures("tab")
def test_a_broken_check_is_not_the_fault_of_the_solution():
    with pytest.raises(RuntimeError, match="the check itself is broken"):
        judge("def f(x): return x", CheckTests("def check(candidate): missing", "f"))


@pytest.mark.usefixtures("tab")
@pytest.mark.parametrize("tests", [DOUBLE, CHECK])
def test_stop_ends_the_judge_and_not_the_solution_alone(tests):
    before = dict(os.environ), sys.gettrace(), sys.stdin, sys.stdout, os._exit
    with pytest.raises(KeyboardInterrupt):
        judge("def double(x): raise KeyboardInterrupt", tests)
    assert (dict(os.environ), sys.gettrace(), sys.stdin, sys.stdout, os._exit) == before


@pytest.mark.usefixtures("tab")
def test_outputs_of_all_calls_are_had():
    found = outputs("def f(x): return 6 // x", FunctionTests("f", [([2], None), ([0], None), ([3], None)]))
    assert [(output.value, output.error[:27]) for output in found] == [
        (3, ""),
        (None, "line 1: ZeroDivisionError: "),
        (2, ""),
    ]


@pytest.mark.usefixtures("tab")
def test_layers_are_off_and_cannot_be_required():
    protections.cache_clear()
    assert protections() == dict.fromkeys(LAYERS, "a tab has no processes")
    protections.cache_clear()
    with pytest.raises(
        RuntimeError, match=r"lacks required layers of the sandbox: {'seccomp': 'a tab has no"
    ):
        judge("def double(x): return 2 * x", DOUBLE, require=["seccomp"])
