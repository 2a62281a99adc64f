"""Attacks on single layers of the sandbox, with the others switched off, as on machines that lack them."""

import os
import signal
import subprocess
import sys
import time
from glob import glob
from pathlib import Path

import pytest

from llmguide.coding.sandbox import process
from llmguide.coding.sandbox.judging import judge, protections
from llmguide.coding.sandbox.verdicts import FunctionTests

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="layers of Linux")
as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root has them")
needs_seccomp = pytest.mark.skipif(protections()["seccomp"] != "on", reason=protections()["seccomp"])
NO_NAMESPACES = tuple(layer for layer in process.LAYERS if layer not in ("namespaces", "tmpfs"))

CALL = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    ctypes.set_errno(0)
    answer = getattr(libc, name)(*arguments)
    return errno.errorcode[ctypes.get_errno()] if answer == -1 else answer
"""


def run(code, *arguments, timeout_s=10.0):
    """What becomes of the expressions `code` in one box."""
    source = f"{CALL}\ndef f(*args): return [{code}]"
    verdict = judge(source, FunctionTests("f", [(arguments, None)]), timeout_s=timeout_s)
    assert verdict.status == "wrong_answer", verdict.message
    return verdict.got


@pytest.mark.parametrize("layers", [("limits", "capabilities"), ("limits", "namespaces", "capabilities")])
def test_no_capability_is_left(layers, monkeypatch):
    if protections().get("namespaces") != "on" and "namespaces" in layers:
        pytest.skip(protections()["namespaces"])
    monkeypatch.setattr(process, "_TRIED", layers)
    (status,) = run("open('/proc/self/status').read()")
    fields = dict(line.split(":\t") for line in status.splitlines())
    kinds = ["CapInh", "CapPrm", "CapEff", "CapAmb"]
    if os.geteuid() == 0 or "namespaces" in layers:  # others may not empty it
        kinds.append("CapBnd")
    assert {kind: int(fields[kind], 16) for kind in kinds} == dict.fromkeys(kinds, 0)
    assert fields["NoNewPrivs"] == "1"


# harmless where they are allowed: these do nothing, or fail after the kernel has looked at capabilities
PRIVILEGED = [
    "call('mknod', b'node', 0o20600, ctypes.c_long(259))",
    "call('sethostname', os.uname().nodename.encode(), len(os.uname().nodename))",
    "call('chroot', b'.')",
    "call('unshare', 0x20000)",
    "call('mount', b'none', b'.', b'nothing', 0, None)",
    "call('umount2', b'.', 0)",
    "call('syscall', 430, b'tmpfs', 0)",  # fsopen
    "call('syscall', 428, -100, b'.', 1)",  # open_tree, as a copy
    "call('reboot', 1)",  # no such command, if it may ask at all
    "call('adjtimex', (ctypes.c_int * 64)(0x4000))",  # a tick of no length, if it may ask at all
    "call('swapoff', b'nothing')",
    "call('acct', b'nothing')",
    "call('setuid', 0) if os.getuid() else call('setuid', 1)",
    "call('setgroups', 0, None)",
    "call('setpriority', 0, 0, -5)",
]


@as_root
@pytest.mark.parametrize("layers", [("limits", "capabilities"), ("limits", "seccomp")])
def test_either_of_two_layers_keeps_root_from_what_root_may(layers, monkeypatch):
    if protections()[layers[1]] != "on":
        pytest.skip(protections()[layers[1]])
    monkeypatch.setattr(process, "_TRIED", layers)
    found = dict(zip(PRIVILEGED, run(", ".join(PRIVILEGED)), strict=True))
    assert {attack: error for attack, error in found.items() if error not in ("EPERM", "EACCES")} == {}


@needs_seccomp
def test_shared_memory_semaphores_and_queues_are_refused_without_namespaces(monkeypatch):
    monkeypatch.setattr(process, "_TRIED", NO_NAMESPACES)
    attacks = [
        "call('shmget', 1, 4096, 0o1600)",
        "call('shmat', args[0], None, 0)",
        "call('shmctl', args[0], 0, None)",
        "call('semget', 1, 1, 0o1600)",
        "call('semctl', 0, 0, 0)",
        "call('semop', 0, None, 0)",
        "call('msgget', 1, 0o1600)",
        "call('msgrcv', 0, None, 0, 0, 0)",
        "call('msgctl', 0, 0, None)",
    ]
    assert run(", ".join(attacks), 0) == ["EPERM"] * len(attacks)


@needs_seccomp
@pytest.mark.parametrize(
    ("layers", "is_limited"),
    [(process.LAYERS, True), (NO_NAMESPACES, False), (("limits", "landlock"), True)],
    ids=["namespaces", "seccomp", "neither"],
)
def test_processes_are_counted_where_only_those_of_the_sandbox_are_or_where_nothing_else_forbids_them(
    layers, is_limited, monkeypatch
):
    """Without namespaces, the kernel counts all processes of the user, and seccomp forbids new ones."""
    if protections()["namespaces"] != "on" and "namespaces" in layers:
        pytest.skip(protections()["namespaces"])
    monkeypatch.setattr(process, "_TRIED", layers)
    (limit,) = run("__import__('resource').getrlimit(6)[0]")  # RLIMIT_NPROC on Linux
    assert (limit == 32) is is_limited


@needs_seccomp
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root's processes are not limited")
def test_the_other_processes_of_the_user_leave_a_solution_its_threads(monkeypatch):
    monkeypatch.setattr(process, "_TRIED", NO_NAMESPACES)
    others = [subprocess.Popen(["sleep", "60"]) for _ in range(40)]
    try:
        assert run("__import__('threading').Thread(target=print).start()") == [None]
    finally:
        for other in others:
            other.kill()
            other.wait()


OUTLIVE = {
    "sleeps": "time.sleep(600)",
    "clears the signal of its parent's death": "libc.prctl(1, 0, 0, 0, 0)\ntime.sleep(600)",
    "ends its first thread": (
        "threading.Thread(target=time.sleep, args=(600,)).start()\nlibc.pthread_exit(None)"
    ),
    "detaches itself": (
        "for way in (os.setsid, os.fork, lambda: os.setpgid(0, 0)):\n"
        "    try: way()\n    except OSError: pass\n"
        "os.closerange(0, 4096)\ntime.sleep(600)"
    ),
    "ignores signals": ("for s in range(1, 65): libc.signal(s, ctypes.c_void_p(1))\ntime.sleep(600)"),
}


def _living(group):
    """Threads of the processes of a group, without those that have ended and wait to be collected."""
    found = []
    for name in glob("/proc/[0-9]*/task/*/stat"):  # noqa: PTH207  # whose glob fails if a process ends meanwhile
        path = Path(name)
        try:
            state, _, its_group, *_ = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its_group) == group and state != "Z":
            found.append(int(path.parents[2].name))
    return found


@needs_seccomp
@pytest.mark.parametrize("layers", [process.LAYERS, NO_NAMESPACES], ids=["all layers", "no namespaces"])
@pytest.mark.parametrize("attack", OUTLIVE)
def test_no_solution_outlives_a_judge_that_is_killed(attack, layers, tmp_path):
    source = (
        f"import ctypes, os, threading, time\nlibc = ctypes.CDLL(None)\nprint(flush=True)\n{OUTLIVE[attack]}"
    )
    script = (
        "from llmguide.coding.sandbox import process\n"
        f"process._TRIED = {layers!r}\n"
        "with process.Sandbox(process.Limits(600, 256)) as started:\n"
        f"    started.start('function', source={source!r}, entry_point='f')\n"
        "    while not started.stdout(): started._read('stdout')\n"
        "    print(started._process.pid, flush=True)\n"
        "    started.receive()\n"
    )
    elsewhere = os.environ | {"TMPDIR": str(tmp_path)}  # who is killed leaves a folder, empty with a tmpfs
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=elsewhere
    ) as judging:
        group = int(judging.stdout.readline())
        time.sleep(0.2)  # for the attack to come to its end
        before = _living(group)
        judging.kill()
    deadline = time.monotonic() + 60
    while (left := _living(group)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert len(before) >= 2
    assert left == []
