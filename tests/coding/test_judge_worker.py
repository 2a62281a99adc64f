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
    value = [True, 1, 1.0, (1,), [1], "1", b"1", 10**5000, float("inf"), None]
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


def run_filter(program, call, argument, audit):
    """A machine for the five instructions that the filter uses."""
    words = [sandbox.struct.unpack("=HBBI", program[i : i + 8]) for i in range(0, len(program), 8)]
    data = {0: call, 4: audit, 16: argument}
    place = accumulator = 0
    while True:
        code, yes, no, k = words[place]
        place += 1
        if code == 0x06:
            return {0x7FFF0000: "allow", 0x80000000: "kill", 0x00050001: "EPERM", 0x00050026: "ENOSYS"}[k]
        if code == 0x20:
            accumulator = data[k]
        else:
            holds = {0x15: accumulator == k, 0x35: accumulator >= k, 0x45: bool(accumulator & k)}[code]
            place += yes if holds else no


@pytest.mark.parametrize("name", sandbox.MACHINES)
def test_the_filter_allows_and_refuses_what_it_should(name):
    machine = sandbox.MACHINES[name]
    program = sandbox.seccomp_program(machine)
    for call in range(500):
        answer = run_filter(program, call, 0, machine.audit)
        expected = "EPERM" if call in (*machine.denied, machine.clone) else "allow"
        assert answer == ("ENOSYS" if call == machine.clone3 else expected)
    assert run_filter(program, machine.clone, 0x00010000, machine.audit) == "allow"  # a thread
    assert run_filter(program, 0x40000000, 0, machine.audit) == "EPERM"
    assert run_filter(program, 0, 0, 0) == "kill"


NAMES = [
    "execve",
    "execveat",
    "socket",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "kill",
    "tkill",
    "tgkill",
    "rt_sigqueueinfo",
    "rt_tgsigqueueinfo",
    "pidfd_send_signal",
    "setpgid",
    "setsid",
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
    "shmget",
    "msgget",
    "semget",
    "mq_open",
    "init_module",
    "finit_module",
]
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
        call: int(n) for call, n in re.findall(r"#define __NR_(\w+)\s+(\d+)$", text, flags=re.MULTILINE)
    }
    machine = sandbox.MACHINES[name]
    more = ["fork", "vfork"] if name == "x86_64" else []
    assert sorted(machine.denied) == sorted(number[call] for call in [*NAMES, *more])
    assert (machine.clone, machine.clone3, machine.capset) == tuple(
        number[call] for call in ("clone", "clone3", "capset")
    )
