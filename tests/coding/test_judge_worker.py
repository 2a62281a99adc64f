"""What crosses the wire of the judge, and the filter of system calls."""

import ast
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmguide.coding import judge_worker, sandbox
from llmguide.coding.judge_worker import MAX_DEPTH, MAX_ENTRIES, NotPlainError, decode, encode

keys = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary())
keys = st.one_of(keys, st.complex_numbers(allow_nan=False), st.tuples(keys), st.frozensets(keys, max_size=3))
plain = st.recursive(
    st.one_of(keys, st.sets(keys, max_size=3)),
    lambda part: st.one_of(
        st.lists(part, max_size=3), st.tuples(part, part), st.dictionaries(keys, part, max_size=3)
    ),
    max_leaves=8,
)


@given(plain)
def test_plain_data_survives_the_wire_with_its_types(value):
    again = decode(encode(value))
    assert again == value
    assert repr(type(again)) == repr(type(value))
    if not isinstance(value, (set, frozenset, dict)):
        assert type(again) is type(value)


def test_types_inside_survive_too():
    value = [True, 1, 1.0, (1,), [1], "1", b"1", 10**4000, float("inf"), None]
    assert [type(x) for x in decode(encode(value))] == [type(x) for x in value]


@pytest.mark.parametrize("value", [object(), len, range(3), type("L", (list,), {})(), {1: {2: object()}}])
def test_other_types_are_refused(value):
    with pytest.raises(NotPlainError, match="cannot be compared"):
        encode(value)


def nested(depth):
    value = 0
    for _ in range(depth):
        value = [value]
    return value


def test_depth_and_entries_are_bounded_on_both_sides():
    assert decode(encode(nested(MAX_DEPTH))) == nested(MAX_DEPTH)
    for function in (encode, decode):
        with pytest.raises(NotPlainError, match="nested"):
            function(nested(MAX_DEPTH + 2))
    with pytest.raises(NotPlainError, match="entries"):
        decode({"set": [0] * (MAX_ENTRIES + 1)})
    with pytest.raises(NotPlainError, match="no value is written as"):
        decode({"object": 1})


@pytest.mark.parametrize("file", [judge_worker.__file__, sandbox.__file__])
def test_what_runs_in_the_box_imports_the_standard_library_only(file):
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= set(sandbox.sys.stdlib_module_names)


def run_filter(program, call, audit, *arguments):
    """A machine for the instructions that the filter uses."""
    words = [sandbox.struct.unpack("=HBBI", program[i : i + 8]) for i in range(0, len(program), 8)]
    data = {0: call, 4: audit, **{16 + 8 * i: value for i, value in enumerate([*arguments, 0, 0, 0])}}
    place = accumulator = 0
    while True:
        code, yes, no, k = words[place]
        place += 1
        if code == 0x06:
            return {0x7FFF0000: "allow", 0x80000000: "kill", 0x00050001: "EPERM", 0x00050026: "ENOSYS"}[k]
        if code == 0x20:
            accumulator = data[k]
        elif code == 0x54:
            accumulator &= k
        elif code == 0x05:
            place += k
        else:
            holds = {0x15: accumulator == k, 0x35: accumulator >= k}[code]
            place += yes if holds else no


@pytest.mark.parametrize("name", sandbox.MACHINES)
def test_the_filter_allows_and_refuses_what_it_should(name):
    machine = sandbox.MACHINES[name]
    program = sandbox.seccomp_program(machine)
    clone, family, socketpair, fcntl, ioctl, prlimit = machine.guarded
    assert family == socketpair
    for call in range(500):
        answer = run_filter(program, call, machine.audit, 99, 99)
        expected = "EPERM" if call in (*machine.denied, *machine.guarded) else "allow"
        assert answer == ("ENOSYS" if call == machine.clone3 else expected)
    assert run_filter(program, 0x40000000, machine.audit) == "EPERM"
    assert run_filter(program, 0, 0) == "kill"
    # numbers from the kernel's include/uapi: sched.h, net.h, fcntl.h, asm-generic/ioctls.h and sockios.h
    cases = [
        (clone, (0x003D0F00,), "allow"),  # a thread, as the C library starts it
        (clone, (0x01200011,), "EPERM"),  # a process, as it forks
        (socketpair, (1, 1), "allow"),  # SOCK_STREAM
        (socketpair, (1, 0o2000001), "allow"),  # with SOCK_CLOEXEC
        (socketpair, (1, 2), "EPERM"),  # SOCK_DGRAM
        (socketpair, (30, 1), "EPERM"),  # AF_TIPC
        (socketpair, (1, 3), "EPERM"),  # SOCK_RAW, which is one, too
        (fcntl, (0, 4), "allow"),  # F_SETFL
        (fcntl, (0, 8), "EPERM"),  # F_SETOWN
        (fcntl, (0, 10), "EPERM"),  # F_SETSIG
        (fcntl, (0, 15), "EPERM"),  # F_SETOWN_EX
        (fcntl, (0, 1024), "EPERM"),  # F_SETLEASE
        (fcntl, (0, 1030), "allow"),  # F_DUPFD_CLOEXEC
        (ioctl, (0, 0x5401), "allow"),  # TCGETS
        (ioctl, (0, 0x5412), "EPERM"),  # TIOCSTI
        (ioctl, (0, 0x8901), "EPERM"),  # FIOSETOWN
        (prlimit, (0, 7), "allow"),
        (prlimit, (1, 7), "EPERM"),
    ]
    for call, arguments, expected in cases:
        assert run_filter(program, call, machine.audit, *arguments) == expected, (call, arguments)


NAMES = [
    "execve",
    "execveat",
    "socket",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "kill",
    "tkill",
    "tgkill",
    "rt_sigqueueinfo",
    "rt_tgsigqueueinfo",
    "pidfd_send_signal",
    "pidfd_getfd",
    "setpgid",
    "setsid",
    "setpriority",
    "sched_setparam",
    "sched_setscheduler",
    "sched_setaffinity",
    "sched_setattr",
    "ioprio_set",
    "migrate_pages",
    "move_pages",
    "mount",
    "umount2",
    "unshare",
    "setns",
    "bpf",
    "io_uring_setup",
    "userfaultfd",
    "perf_event_open",
    "add_key",
    "request_key",
    "keyctl",
    "open_by_handle_at",
    "memfd_create",
    "memfd_secret",
    "shmget",
    "msgget",
    "semget",
    "mq_open",
    "init_module",
    "finit_module",
    "syslog",
    "sync",
    "syncfs",
    "truncate",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "fchown",
    "fchownat",
    "utimensat",
    "setxattr",
    "lsetxattr",
    "fsetxattr",
    "setxattrat",
    "removexattr",
    "lremovexattr",
    "fremovexattr",
    "removexattrat",
    "file_setattr",
    "inotify_add_watch",
    "fanotify_init",
]
OLDER = ["fork", "vfork", "chmod", "chown", "lchown", "utime", "utimes", "futimesat"]  # on x86_64 only
NEWER = {"setxattrat": 463, "removexattrat": 466, "file_setattr": 469}  # than the headers of Debian 12
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_call_numbers_are_those_of_the_kernels_headers(name):
    if not HEADERS[name].is_file():
        pytest.skip(f"{HEADERS[name]} is not installed")
    text = HEADERS[name].read_text(encoding="utf-8")
    number = {
        call: int(n)
        for call, n in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)$", text, flags=re.MULTILINE)
    }
    number = NEWER | number
    machine = sandbox.MACHINES[name]
    more = OLDER if name == "x86_64" else []
    assert sorted(machine.denied) == sorted(number[call] for call in [*NAMES, *more])
    assert machine.guarded == tuple(number[guard.name] for guard in sandbox.GUARDS)
    assert (machine.clone3, machine.capset) == (number["clone3"], number["capset"])
