"""The filter of system calls: what it lets through in theory, on this kernel, and for ordinary programs."""

import platform
import re
import struct
from pathlib import Path

import numpy
import pytest

from llmguide.coding.sandbox import process, seccomp
from llmguide.coding.sandbox.judging import judge, protections
from llmguide.coding.sandbox.verdicts import FunctionTests

ANY = FunctionTests("f", [([0], None)])
needs_seccomp = pytest.mark.skipif(protections()["seccomp"] != "on", reason=protections()["seccomp"])


def run_filter(program, call, audit, *arguments):
    """A machine for the instructions that the filter uses."""
    words = [struct.unpack("=HBBI", program[i : i + 8]) for i in range(0, len(program), 8)]
    data = {0: call, 4: audit, **{16 + 8 * i: value for i, value in enumerate([*arguments, 0, 0, 0, 0])}}
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
        else:
            holds = {0x15: accumulator == k, 0x35: accumulator >= k}[code]
            place += yes if holds else no


@pytest.mark.parametrize("name", seccomp.AUDIT)
def test_the_filter_allows_what_is_listed_and_nothing_else(name):
    numbers, audit, program = seccomp.numbers_of(name), seccomp.AUDIT[name], seccomp.program(name)
    free = set(numbers.values()) - {numbers[guard.name] for guard in seccomp.GUARDS}
    for call in [*range(1000), 0x40000000, 0x40000001, 0xFFFFFFFF]:  # the last but one are of x32
        refused = "EPERM" if call < seccomp.FIRST_UNKNOWN else "ENOSYS"
        assert run_filter(program, call, audit, 99, 99, 99, 99) == ("allow" if call in free else refused)
    assert run_filter(program, 0, 0) == "kill"


@pytest.mark.parametrize("name", seccomp.AUDIT)
def test_the_filter_looks_at_arguments(name):
    # numbers from the kernel's uapi: sched.h, prctl.h, net.h, fcntl.h, asm-generic/ioctls.h, sockios.h
    cases = [
        ("clone", (0x003D0F00,), "allow"),  # a thread, as the GNU C library starts it
        ("clone", (0x007D0F00,), "allow"),  # and musl
        ("clone", (0x01200011,), "EPERM"),  # a process, as it forks
        ("clone", (0x103D0F00,), "EPERM"),  # CLONE_NEWUSER
        ("prctl", (15,), "allow"),  # PR_SET_NAME
        ("prctl", (1,), "EPERM"),  # PR_SET_PDEATHSIG
        ("prctl", (4,), "EPERM"),  # PR_SET_DUMPABLE
        ("socketpair", (1, 1), "allow"),  # SOCK_STREAM
        ("socketpair", (1, 0o2000001), "allow"),  # with SOCK_CLOEXEC
        ("socketpair", (1, 2), "EPERM"),  # SOCK_DGRAM
        ("socketpair", (30, 1), "EPERM"),  # AF_TIPC
        ("socketpair", (1, 3), "EPERM"),  # SOCK_RAW, which is one, too
        ("sendto", (0, 0, 0, 0x4000), "allow"),  # MSG_NOSIGNAL
        ("sendto", (0, 0, 0, 0x4001), "EPERM"),  # MSG_OOB
        ("recvfrom", (0, 0, 0, 1), "EPERM"),
        ("fcntl", (0, 4), "allow"),  # F_SETFL
        ("fcntl", (0, 8), "EPERM"),  # F_SETOWN
        ("fcntl", (0, 10), "EPERM"),  # F_SETSIG
        ("fcntl", (0, 15), "EPERM"),  # F_SETOWN_EX
        ("fcntl", (0, 1024), "EPERM"),  # F_SETLEASE
        ("fcntl", (0, 1030), "allow"),  # F_DUPFD_CLOEXEC
        ("ioctl", (0, 0x5401), "allow"),  # TCGETS
        ("ioctl", (0, 0x5412), "EPERM"),  # TIOCSTI
        ("ioctl", (0, 0x8901), "EPERM"),  # FIOSETOWN
        ("prlimit64", (0, 7), "allow"),
        ("prlimit64", (1, 7), "EPERM"),
    ]
    program = seccomp.program(name)
    for call, arguments, expected in cases:
        number = seccomp.numbers_of(name)[call]
        assert run_filter(program, number, seccomp.AUDIT[name], *arguments) == expected, (call, arguments)


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
    number.setdefault("newfstatat", number.get("fstatat", -1))  # the generic name of the same call
    assert seccomp.numbers_of(name) == {call: number[call] for call in seccomp.CALLS if call in number}
    assert number["clone3"] == seccomp.FIRST_UNKNOWN


RAW = """
import ctypes
def f(numbers):
    libc = ctypes.CDLL(None, use_errno=True)
    found = {}
    for number in numbers:
        ctypes.set_errno(0)
        libc.syscall(ctypes.c_long(number), *[ctypes.c_long(-1)] * 6)
        found[number] = ctypes.get_errno()
    return found
"""


@needs_seccomp
def test_the_kernel_refuses_every_call_that_is_not_listed(monkeypatch):
    monkeypatch.setattr(process, "_TRIED", ("limits", "seccomp"))
    numbers = seccomp.numbers_of(platform.machine())
    guarded = {numbers[guard.name] for guard in seccomp.GUARDS if guard.name not in ("sendto", "recvfrom")}
    others = sorted((set(range(600)) - set(numbers.values())) | guarded)
    if platform.machine() == "x86_64":  # uretprobe and uprobe: no filter sees them, and they end the process
        others = [call for call in others if call not in (335, 336)]
    verdict = judge(RAW, FunctionTests("f", [([others], None)]))
    assert verdict.got == {call: 1 if call < seccomp.FIRST_UNKNOWN else 38 for call in others}


@needs_seccomp
@pytest.mark.skipif(platform.machine() != "x86_64", reason="ways to call of x86")
def test_other_ways_to_call_are_closed(monkeypatch):
    monkeypatch.setattr(process, "_TRIED", ("limits", "seccomp"))
    x32 = [0x40000000 + call for call in range(0, 560)]
    assert set(judge(RAW, FunctionTests("f", [([x32], None)])).got.values()) == {38}
    old = (  # mov eax, 20 (getpid); int 0x80; ret
        "import ctypes, mmap\n"
        "page = mmap.mmap(-1, 4096, prot=7)\npage.write(bytes.fromhex('b814000000cd80c3'))\n"
        "code = ctypes.addressof(ctypes.c_char.from_buffer(page))\n"
        "def f(_): return ctypes.CFUNCTYPE(ctypes.c_int)(code)()\n"
    )
    assert "SIGSYS" in judge(old, ANY).message


ORDINARY = {
    "files": """
import bz2, fcntl, glob, gzip, lzma, mmap, os, pathlib, shutil, tempfile, zipfile
folder = pathlib.Path("a/b")
folder.mkdir(parents=True)
(folder / "c").write_text("text")
(folder / "c").rename(folder / "d")
os.symlink("d", folder / "link")
os.link(folder / "d", folder / "hard")
shutil.copyfile(folder / "d", "e")
os.replace("e", "f")
with open("f", "r+b") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    fcntl.lockf(file, fcntl.LOCK_EX)
    os.posix_fallocate(file.fileno(), 0, 4096)
    os.pwrite(file.fileno(), b"x", 9)
    with mmap.mmap(file.fileno(), 0) as memory:
        memory[0] = memory[9]
        memory.flush()
    file.truncate(5)
    os.fsync(file.fileno())
for module in (bz2, gzip, lzma):
    with module.open("packed", "wb") as file: file.write(bytes(9))
    with module.open("packed") as file: file.read()
with zipfile.ZipFile("zip", "w") as archive: archive.write("f")
with zipfile.ZipFile("zip") as archive: archive.extractall("out")
with tempfile.TemporaryDirectory(dir=".") as inner, tempfile.NamedTemporaryFile(dir=inner): pass
list(os.walk(".")), glob.glob("**", recursive=True)
os.access("f", os.R_OK), os.path.realpath(folder / "link")
shutil.rmtree("a")
""",
    "database": """
import sqlite3
with sqlite3.connect("base") as base:
    base.execute("pragma journal_mode = wal")
    base.execute("create table t (a)")
    base.execute("insert into t values (1)")
""",
    "threads": """
import concurrent.futures, queue, threading
with concurrent.futures.ThreadPoolExecutor(4) as pool: assert sum(pool.map(abs, range(-4, 0))) == 10
items, done = queue.Queue(), threading.Event()
threading.Thread(target=lambda: items.put(1), name="named").start()
items.get()
threading.Timer(0.01, done.set).start()
assert done.wait(60)
""",
    "waiting": """
import asyncio, os, select, selectors, signal, time
async def main():
    await asyncio.gather(asyncio.sleep(0.01), asyncio.to_thread(time.sleep, 0.01))
    asyncio.get_running_loop().add_signal_handler(signal.SIGALRM, print)
asyncio.run(main())
signal.signal(signal.SIGALRM, lambda *_: found.append(1))
found = []
signal.setitimer(signal.ITIMER_REAL, 0.01)
while not found: time.sleep(0.001)
a, b = os.pipe()
os.write(b, b"x")
assert select.select([a], [], [], 60)[0] and select.poll().poll(1) == []
with selectors.DefaultSelector() as selector:
    selector.register(a, selectors.EVENT_READ)
    selector.select(60)
""",
    "numbers": """
import datetime, decimal, fractions, hashlib, locale, math, pickle, platform, random
import re, resource, secrets, statistics, sys, time, tracemalloc, uuid
decimal.getcontext().prec = 1000
decimal.Decimal(2).sqrt(), fractions.Fraction(1, 3), statistics.stdev([1, 2, 4]), math.factorial(2000)
re.fullmatch(r"(a|b)*c", "ab" * 1000 + "c")
random.seed(), random.SystemRandom().random(), secrets.token_bytes(9), uuid.uuid4()
hashlib.sha256(b"").digest()
time.time(), time.monotonic(), time.process_time(), time.thread_time(), time.localtime()
datetime.datetime.now()
platform.machine(), platform.node(), resource.getrusage(resource.RUSAGE_SELF)
locale.setlocale(locale.LC_ALL, ""), sys.stdout.isatty(), sys.setrecursionlimit(5000)
tracemalloc.start()
big = bytearray(50 << 20), sorted(random.random() for _ in range(10**5)), pickle.dumps(list(range(10**5)))
tracemalloc.stop()
""",
    "numpy": f"""
import sys
sys.path.append({str(Path(numpy.__file__).parents[1])!r})
import numpy as np
a = np.random.default_rng(0).normal(size=(200, 200))
np.linalg.svd(a @ a.T), np.fft.fft(a), np.sort(a, axis=None), np.einsum("ij,jk->ik", a, a)
np.save("a.npy", a)
assert (np.load("a.npy", mmap_mode="r") == a).all()
""",
}


@needs_seccomp
@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_programs_need_no_other_calls(name, monkeypatch):
    if name == "numpy":  # it lies where the box may not read
        monkeypatch.setattr(process, "_TRIED", ("limits", "capabilities", "seccomp"))
    verdict = judge(ORDINARY[name] + "\ndef f(_): pass", ANY, timeout_s=60, memory_mb=4096)
    assert verdict.passed, verdict.message
