"""The judge: verdicts, and attacks on each of its promises."""

import os
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from llmguide.coding.sandbox import judging, process, replies
from llmguide.coding.sandbox.isolation import LAYERS
from llmguide.coding.sandbox.judging import judge, outputs, protections
from llmguide.coding.sandbox.verdicts import CheckTests, FunctionTests, ProgramTests, matches

FOUR = FunctionTests("f", [([2], 4)])


def needs(*layers):
    """Skip, loudly, where the machine lacks a layer: containers often forbid namespaces."""
    missing = {name: state for name, state in protections().items() if name in layers and state != "on"}
    return pytest.mark.skipif(bool(missing), reason=f"this machine lacks {missing}")


def body(code, result="4"):
    lines = "".join(f"    {line}\n" for line in code.splitlines())
    return f"def f(x):\n{lines}    return {result}\n"


def test_function_cases_pass_and_the_first_failing_one_is_shown():
    tests = FunctionTests("add", [([1, 2], 3), ([2, 2], 4), ([0, 5], 5)])
    assert judge("def add(a, b): return a + b", tests).passed
    start = time.monotonic()
    verdict = judge("def add(a, b):\n    print('called', a)\n    return a * b", tests)
    assert 0 < verdict.seconds <= time.monotonic() - start
    assert (verdict.status, verdict.case, verdict.input, verdict.expected, verdict.got) == (
        "wrong_answer",
        0,
        [1, 2],
        3,
        2,
    )
    assert verdict.stdout == "called 1\n"


def test_a_method_of_solution_is_an_entry_point():
    assert judge("class Solution:\n    def f(self, x): return 2 * x", FOUR).passed


def test_programs_are_judged_by_what_they_print():
    tests = ProgramTests([("1 2\n", "3"), ("5 5\n", "10\n")])
    assert judge("print(sum(map(int, input().split())))", tests).passed
    verdict = judge("print(3)", tests)
    assert (verdict.status, verdict.case, verdict.expected, verdict.got) == ("wrong_answer", 1, "10\n", "3\n")
    assert judge("import sys\nprint(3)\nsys.exit(1)", tests).status == "error"


def test_checks_are_judged_by_their_assertions():
    source = (
        "def check(candidate):\n    assert candidate([1, 2]) == helper(3)\n    assert candidate([]) == 0\n"
    )
    tests = CheckTests(source, "total", "def helper(x): return x\n")
    assert judge("def total(xs): return sum(xs)", tests).passed
    verdict = judge("def total(xs): return 3", tests)
    assert (verdict.status, verdict.case, verdict.input, verdict.got) == ("wrong_answer", 1, ([],), 3)
    assert verdict.expected == "assert candidate([]) == 0"
    raised = judge("def total(xs): return xs[0] + xs[1]", tests)
    assert (raised.status, raised.message) == ("error", "line 1: IndexError: list index out of range")


def test_a_check_can_expect_an_exception():
    source = (
        "def check(candidate):\n    try:\n        candidate(-1)\n    except ValueError:\n        return\n"
        "    assert False\n"
    )
    assert judge("def root(x):\n    raise ValueError('negative')", CheckTests(source, "root")).passed
    assert judge("def root(x): return 0", CheckTests(source, "root")).status == "wrong_answer"


def test_answers_that_break_the_check_are_wrong():
    # an answer as deep or as long as may be sent, from which the check makes an argument that may not
    twice = CheckTests("def check(c):\n    assert c([c(1), c(2)]) == 3", "f")
    for answer in ("x = 1\nfor _ in range(100): x = [x]", "x = 'x' * 10**6"):
        verdict = judge(body(answer, "x"), twice)
        assert verdict.status == "wrong_answer"
        assert verdict.message.startswith("the check fails: line 2: NotPlainError")


def test_a_broken_check_is_not_the_fault_of_the_solution():
    with pytest.raises(RuntimeError, match="check itself"):
        judge("def f(x): return x", CheckTests("def check(candidate): assert undefined", "f"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def f(x:", "SyntaxError"),
        ("def g(x): return 4", "NameError: the solution defines no f"),
        ("def f(x):\n    return 1 // 0", "line 2: ZeroDivisionError"),
        (body("import sys; sys.exit(0)"), "SystemExit"),
        (body("import os; os._exit(0)"), "exit code 0"),
        (body("import ctypes; ctypes.string_at(0)"), "SIGSEGV"),
        ("import os\nos._exit(0)", "exit code 0"),
    ],
)
def test_errors_say_what_happened(source, message):
    verdict = judge(source, FOUR)
    assert verdict.status == "error"
    assert message in verdict.message


def test_endless_loops_time_out_whatever_they_catch():
    loop = (
        "import signal\nfor s in range(1, 65):\n"
        "    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\n"
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
    )
    verdict = judge(body(loop), FOUR, timeout_s=0.4)
    assert verdict.status == "timeout"
    assert verdict.message == "no answer within 0.4 s"  # and not the limit of the processor's time


def test_sleeping_times_out():
    assert judge("import time\ntime.sleep(60)", FOUR, timeout_s=0.2).status == "timeout"


def test_endless_output_is_cut():
    verdict = judge(body("while True: print('x' * 10_000)"), FOUR)
    assert verdict.status == "output_limit"
    assert len(verdict.stdout) <= process.TAIL
    assert judge("while True: print('x' * 10_000)", ProgramTests([("", "")])).status == "output_limit"
    assert judge(body("", "'x' * 10**7"), FOUR).status == "error"  # does not fit into the channel
    assert judge(body("", "set(range(200_000))"), FOUR).status == "error"


def test_memory_is_limited():
    assert judge(body("a = bytearray(10**9)"), FOUR).status == "memory_limit"
    assert judge(body("a = bytearray(10**8)"), FOUR, memory_mb=400).passed


def test_huge_recursion_is_contained():
    assert "RecursionError" in judge("def f(x): return f(x)", FOUR).message
    deep = "import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return f(x)"
    assert not judge(deep, FOUR, timeout_s=1, memory_mb=64).passed
    crash = "import sys\nsys.setrecursionlimit(10**9)\nclass A:\n    def __repr__(self): return repr(self)\n"
    assert not judge(crash + body("repr(A())"), FOUR, timeout_s=1).passed


ATTEMPTS = """
import os, socket, subprocess
def f(attempts):
    found = []
    for attempt in attempts:
        try:
            found.append(repr(eval(attempt)))
        except OSError as error:
            found.append(error.strerror)
    return found
"""


def attempt(*expressions):
    """What becomes of each expression in one box."""
    return judge(ATTEMPTS, FunctionTests("f", [([list(expressions)], None)])).got


@needs("seccomp")
def test_processes_sockets_and_signals_are_refused():
    attacks = [
        "[os.fork() for _ in range(10**9)]",
        "subprocess.run(['true'])",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "os.execv('/bin/true', ['true'])",
        "socket.socket()",
        "socket.socket(socket.AF_UNIX)",
        "os.kill(os.getppid(), 9)",
        "os.kill(-1, 9)",
        "os.setsid()",
        "os.memfd_create('a')",
    ]
    assert attempt(*attacks) == ["Operation not permitted"] * len(attacks)


@needs("seccomp")
def test_no_descriptor_can_be_made_to_signal_another_process(monkeypatch):
    # the kernel sends the signal, so it is not enough to refuse kill; namespaces would hide the victim, and
    # Landlock since Linux 6.12 would protect it, but not every machine has these
    monkeypatch.setattr(process, "_TRIED", ("limits", "seccomp"))
    with subprocess.Popen(["sleep", "60"]) as victim:
        attack = (
            "import fcntl, os, socket, struct\n"
            "SETOWN, SETSIG, SETFL, ASYNC, SIOCSPGRP = 8, 10, 4, 0o20000, 0x8902\n"
            "a, b = socket.socketpair()\n"
            "found = []\n"
            f"owner = struct.pack('i', {victim.pid})\n"
            f"calls = [(fcntl.fcntl, SETOWN, {victim.pid}), (fcntl.fcntl, SETSIG, 9)]\n"
            "calls += [(fcntl.ioctl, SIOCSPGRP, owner), (fcntl.fcntl, SETFL, ASYNC)]\n"
            "for call, number, value in calls:\n"
            "    try:\n        call(a.fileno(), number, value)\n        found.append('done')\n"
            "    except OSError as error:\n        found.append(error.strerror)\n"
            "b.send(b'x')"
        )
        verdict = judge(body(attack, "found"), FOUR)
        time.sleep(0.05)
        alive = victim.poll() is None
        victim.kill()
    assert verdict.got == ["Operation not permitted"] * 3 + ["done"]
    assert alive


@needs("seccomp")
def test_other_processes_keep_their_limits_and_their_place_in_the_queue(monkeypatch):
    monkeypatch.setattr(process, "_TRIED", ("limits", "seccomp"))
    with subprocess.Popen(["sleep", "60"]) as victim:
        attacks = [
            f"__import__('resource').prlimit({victim.pid}, 7, (0, 0))",
            f"os.setpriority(os.PRIO_PROCESS, {victim.pid}, 19)",
            f"os.sched_setaffinity({victim.pid}, {{0}})",
            f"os.sched_setscheduler({victim.pid}, os.SCHED_IDLE, os.sched_param(0))",
        ]
        found = attempt(*attacks)
        victim.kill()
    assert found == ["Operation not permitted"] * len(attacks)


@needs("seccomp")
def test_a_pair_of_sockets_reaches_no_other_socket(tmp_path):
    # a socket with a path is no matter of the network namespace, and Landlock lets datagrams through
    log, door = tmp_path / "log", tmp_path / "door"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener,
        socket.socket(socket.AF_UNIX) as server,
    ):
        listener.bind(str(log))
        server.bind(str(door))
        server.listen()
        for part in (log, door, *log.parents):
            part.chmod(part.stat().st_mode | (0o777 if part.is_socket() else 0o011))
        kinds = ["SOCK_DGRAM", "SOCK_RAW", "SOCK_SEQPACKET"]
        sent = [f"socket.socketpair(type=socket.{kind})[0].sendto(b'x', {str(log)!r})" for kind in kinds]
        assert attempt(*sent) == ["Operation not permitted"] * len(kinds)
        connect = f"socket.socketpair()[0].connect({str(door)!r})"
        assert attempt(connect) == ["Operation not permitted"]
        for waiting in (listener, server):
            waiting.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.recv(1)
        with pytest.raises(BlockingIOError):
            server.accept()


@needs("seccomp")
def test_sockets_of_other_families_are_refused_before_the_kernel_loads_them():
    pairs = [f"socket.socketpair({family}, socket.SOCK_STREAM)" for family in (2, 10, 16, 17, 30, 38, 40)]
    assert attempt(*pairs) == ["Operation not permitted"] * len(pairs)


def test_asyncio_still_works():
    assert judge(body("import asyncio\nasyncio.run(asyncio.sleep(0))"), FOUR).passed


def test_threads_still_work_and_cannot_run_away():
    two = "import threading\nt = threading.Thread(target=print)\nt.start()\nt.join()"
    assert judge(body(two), FOUR).passed
    many = "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(99,)).start()"
    assert not judge(body(many), FOUR, timeout_s=2).passed


@needs("namespaces")
def test_processes_that_detach_themselves_die_with_the_box(monkeypatch, tmp_path):
    monkeypatch.setattr(process, "_TRIED", ("limits", "namespaces"))
    mark = tmp_path / "alive"
    mark.parent.chmod(0o777)
    attack = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        while True:\n"
        f"            open({str(mark)!r}, 'a').write('.')\n"
        "            time.sleep(0.02)\n"
        "    os._exit(0)\n"
        f"while not os.path.exists({str(mark)!r}): time.sleep(0.01)"
    )
    assert judge(body(attack), FOUR).passed
    end = time.monotonic() + 30
    sizes = [-1, mark.stat().st_size]
    while sizes[-1] != sizes[-2] and time.monotonic() < end:
        time.sleep(1)
        sizes.append(mark.stat().st_size)
    assert sizes[-1] == sizes[-2]


@needs("namespaces")
def test_there_is_no_network_in_the_namespace_either(monkeypatch):
    monkeypatch.setattr(process, "_TRIED", ("limits", "namespaces"))
    verdict = judge(body("import socket\nsocket.create_connection(('127.0.0.1', 9), 1)"), FOUR)
    assert "unreachable" in verdict.message


def test_the_environment_is_empty(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "hunter2")
    verdict = judge("import os\ndef f(x): return sorted(os.environ)", FOUR)
    assert verdict.got in ([], ["LC_CTYPE"])  # Python sets the latter itself


@needs("namespaces", "landlock")
def test_the_environment_of_other_processes_is_out_of_reach():
    secret = "import glob\nfor path in glob.glob('/proc/*/environ'): open(path)"
    verdict = judge(body(secret + f"\nopen('/proc/{os.getpid()}/environ').read()"), FOUR)
    assert "Permission denied" in verdict.message


@needs("landlock")
def test_files_outside_are_out_of_reach():
    attacks = [
        "open('/etc/passwd')",
        "open('/tmp/judge-escape', 'w')",
        f"open({__file__!r})",
        f"open({judging.__file__!r}, 'a')",
        f"os.listdir({str(Path.home())!r})",
        "os.mkdir('/tmp/judge-escape')",
        "os.symlink('a', '/tmp/judge-escape')",
        "os.symlink('/etc/passwd', 'link') or open('link')",
        "open('/dev/mem')",
        "open('/proc/self/mem')",
    ]
    assert set(attempt(*attacks)) <= {"Permission denied", "No such file or directory"}
    assert not Path("/tmp/judge-escape").exists()


@needs("seccomp")
def test_owner_mode_and_times_of_files_outside_stay(tmp_path):
    # Landlock lets the owner of a file change these, and without root the box runs as the owner
    mine = tmp_path / "mine"
    mine.write_text("")
    for path in (mine, *mine.parents):
        path.chmod(path.stat().st_mode | 0o011)
    before = mine.stat()
    attacks = [
        f"os.chmod({str(mine)!r}, 0o777)",
        f"os.chown({str(mine)!r}, os.getuid(), os.getgid())",
        f"os.utime({str(mine)!r}, (0, 0))",
        f"os.setxattr({str(mine)!r}, 'user.a', b'x')",
        "os.chmod(os.open('/dev/null', os.O_RDONLY), 0o777)",
    ]
    assert attempt(*attacks) == ["Operation not permitted"] * len(attacks)
    assert (mine.stat().st_mode, mine.stat().st_mtime) == (before.st_mode, before.st_mtime)


def test_the_own_folder_can_be_written_up_to_a_limit():
    assert judge(
        body("open('a.txt', 'w').write('hello')", "4 if open('a.txt').read() == 'hello' else 0"), FOUR
    ).passed
    verdict = judge(body("f = open('a', 'wb')\nfor _ in range(100): f.write(bytes(10**6))"), FOUR)
    assert verdict.status == "error"
    assert "File too large" in verdict.message or "No space left" in verdict.message


@needs("tmpfs")
def test_many_files_do_not_fill_the_disk():
    verdict = judge(body("for i in range(100):\n    open(str(i), 'wb').write(bytes(10**6))"), FOUR)
    assert "No space left" in verdict.message


def test_temporary_folders_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert judge(body("import os\nos.mkdir('a')\nopen('a/b', 'w').close()\nos.mkdir('c', 0)"), FOUR).passed
    assert list(tmp_path.iterdir()) == []


@needs("seccomp")
def test_trees_deeper_than_python_recurses_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(process, "_TRIED", ("limits", "seccomp"))  # no tmpfs, which ends by itself
    outside = tmp_path.with_name("outside")
    outside.mkdir(0o500)
    attack = (
        "import os\n"
        f"os.symlink({str(outside)!r}, 'link')\n"
        "for _ in range(1500):\n    os.mkdir('a')\n    os.chdir('a')\n"
        "os.mkdir('b', 0)"
    )
    assert judge(body(attack), FOUR).passed
    assert list(tmp_path.iterdir()) == []
    assert outside.stat().st_mode & 0o777 == 0o500


@pytest.mark.parametrize(
    "value",
    ["type('A', (), {'__eq__': lambda *_: True})()", "type('A', (int,), {'__eq__': lambda *_: True})(3)"],
)
def test_objects_that_equal_everything_do_not_leave_the_box(value):
    assert not judge(body("", value), FOUR).passed
    assert not judge(body("", f"[{value}]"), FunctionTests("f", [([2], [4])])).passed
    assert not judge(body("", value), CheckTests("def check(c):\n    assert c(1) == 4", "f")).passed


@pytest.mark.parametrize(
    "patch",
    [
        "import builtins\nbuiltins.all = lambda *_: True\nbuiltins.type = lambda *_: int",
        "import json\njson.dumps = lambda *_: '{\"done\": true}'",
        "import sys\nsys.modules['__main__'].encode = lambda *_: 4",
        "import sys\nsys.modules['__main__'].matches = lambda *_: True",
    ],
)
def test_patching_the_worker_gains_nothing(patch):
    # what is encoded in the place of 3 is still an answer given without knowing the expected one
    tests = FunctionTests("f", [([2], 17)])
    assert not judge(patch + "\n" + body("", "3"), tests).passed


def forge(*lines):
    """Code that writes lines into every open descriptor."""
    data = "".join(f"{line}\n" for line in lines).encode()
    return (
        f"import os\nfor fd in range(3, 4096):\n    try: os.write(fd, {data!r})\n    except OSError: pass\n"
    )


@pytest.mark.parametrize(
    "forged",
    [
        '{"done": true}',
        '{"value": 3}',
        "[]",
        '{"error": 1}',
        '{"value": {"a": 1}}',
        f'{{"value": {{"float": {10**400}}}}}',
        f'{{"value": {{"complex": [{10**400}, 0]}}}}',
    ],
)
def test_forging_the_channel_gains_nothing(forged):
    tests = FunctionTests("f", [([2], 17), ([3], 18)])
    assert not judge(forge(forged) + body("", "3"), tests).passed
    assert not judge(body(forge(forged), "3"), tests).passed


def test_forging_the_channel_of_a_check_gains_nothing():
    tests = CheckTests("def check(c):\n    assert c(1) == 17", "f")
    assert not judge(
        forge('{"done": true}', '{"passed": true}', '{"done": true}') + body("", "3"), tests
    ).passed


def test_deep_and_cyclic_values_are_refused():
    assert not judge(forge("[" * 10**5) + body(""), FOUR).passed
    assert "nested" in judge(body("a = []\na.append(a)", "a"), FOUR).message


def test_a_flood_in_the_channel_does_not_fill_the_memory_of_the_judge():
    # after the forged "done" the judge waits for the end, and reads the channel while it waits
    flood = forge('{"done": true}') + (
        "for fd in range(3, 4096):\n    try:\n        while True: os.write(fd, bytes(1 << 16))\n"
        "    except OSError: pass\n"
    )
    verdict = judge(flood, ProgramTests([("", "")]), timeout_s=3)
    assert verdict.status == "output_limit"
    assert "an answer takes" in verdict.message


def test_answers_sent_in_advance_do_not_outlast_the_deadline(monkeypatch):
    # they arrive without waiting, so the judge must look at the clock, by which each takes 0.3 s to read
    attack = (
        "import os\n"
        "for fd in range(3, 4096):\n"
        "    try: os.write(fd, b'{\"value\":4}\\n' * 1000)\n"
        "    except OSError: pass\n"
    )
    read = []
    monkeypatch.setattr(
        process, "read_message", lambda line: (read.append(line), replies.read_message(line))[1]
    )
    monkeypatch.setattr(process, "time", SimpleNamespace(monotonic=lambda: 0.3 * len(read)))
    verdict = judge(body(attack), FunctionTests("f", [([2], 4)] * 1000), timeout_s=3)
    assert verdict.status == "timeout"
    assert len(read) < 20


def test_answers_that_are_slow_to_read_cost_the_neighbors_nothing():
    # integers that differ by a multiple of 2^61 - 1 have the same hash, and so have these tuples: comparing
    # all of them takes from 10 to 20 s, during which no other thread of the judge would run
    attack = (
        "import json, os\n"
        "items = [{'tuple': [999] * 10 + [i * ((1 << 61) - 1)]} for i in range(1, 9990)]\n"
        "data = json.dumps({'value': {'set': items}}, separators=(',', ':')).encode() + b'\\n'\n"
        "for fd in range(3, 4096):\n    try: os.write(fd, data)\n    except OSError: pass\n"
        "import time\ntime.sleep(60)"
    )
    honest = "def f(x):\n    import time\n    time.sleep(0.8)\n    return 2 * x"
    tests = FunctionTests("f", [([x], 2 * x) for x in range(5)])
    with ThreadPoolExecutor(8) as pool:
        solutions = [body(attack), honest, honest, honest, body(attack), honest, honest, honest]
        verdicts = list(pool.map(lambda solution: judge(solution, tests, timeout_s=9), solutions))
    assert [verdict.passed for verdict in verdicts] == [False, True, True, True] * 2


def test_closing_everything_ends_the_run():
    verdict = judge(body("import os\nos.closerange(0, 4096)"), FOUR)
    assert verdict.status == "error"
    assert judge(body("import sys\nsys.stdout.close()"), FOUR, timeout_s=2).status in ("passed", "error")
    silent = "import os, time\nos.closerange(0, 4096)\ntime.sleep(60)"
    assert judge(body(silent), FOUR, timeout_s=0.3).status == "timeout"


def test_integers_that_cannot_be_shown_are_refused():
    verdict = judge(body("", "10**5000"), FOUR)
    assert verdict.status == "output_limit"
    assert "hexadecimal digits" in repr(verdict)


def test_messages_hold_nothing_that_a_terminal_obeys():
    verdict = judge(body("raise ValueError('\\ud800\\x1b[2J')"), FOUR)
    assert verdict.message == r"line 2: ValueError: \ud800\x1b[2J"
    verdict = judge(body("raise type('\\x1b[2J' + 'A' * 10**5, (Exception,), {})"), FOUR)
    assert verdict.message.startswith(r"line 2: \x1b[2JAAA")
    assert len(verdict.message) < 200


def test_hostile_exceptions_are_described():
    source = "class E(Exception):\n    def __str__(self): raise self\n" + body("raise E")
    assert judge(source, FOUR).message.endswith("E: (its text cannot be read)")


def test_required_layers_are_had_or_refused(monkeypatch):
    monkeypatch.setattr(process, "_TRIED", ("limits",))
    assert judge(body(""), FOUR, require=["limits"]).passed
    with pytest.raises(RuntimeError, match="seccomp"):
        judge(body(""), FOUR, require=["seccomp"])
    with pytest.raises(RuntimeError, match="'seccomp': 'not asked for'"):
        outputs(body(""), FOUR, require=["seccomp"])
    with pytest.raises(ValueError, match="unknown layers"):
        judge(body(""), FOUR, require=["firewall"])
    with pytest.raises(ValueError, match="positive"):
        judge(body(""), FOUR, timeout_s=0)


def test_verdicts_tell_the_layers():
    assert set(judge(body(""), FOUR).protections) == set(LAYERS)


@pytest.mark.parametrize(
    ("got", "expected", "tolerance", "same"),
    [
        (1, True, 0, True),
        (1.0, 1, 0, True),
        ((1, 2), [1, 2], 0, False),
        ([1], [1, 2], 0, False),
        ({1: [0.5 + 1e-9]}, {1: [0.5]}, 1e-6, True),
        ({1: 2}, {2: 1}, 0, False),
        (None, 0.0, 1, False),
        ("a", "a", 0, True),
        (float("nan"), float("nan"), 0, True),
        (float("inf"), float("inf"), 0.1, True),
        (10**400, 4.0, 0.1, False),
        (2**1024 - 1, float("inf"), 0.1, False),
        (10**400, float("nan"), 0, False),
        (2**53 + 1, 2.0**53, 0, False),
        (1 + 1e-9, 1.0, 0, False),
    ],
)
def test_matches(got, expected, tolerance, same):
    assert matches(got, expected, tolerance) is same
