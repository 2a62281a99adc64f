"""The seccomp filter of the sandbox, which allows only the system calls that Python needs.

It is an allowlist, so a call that needs a privilege, reaches another process, or is added to Linux later is
refused without being listed here. The filter is assembled outside and installed by
`llmguide.coding.sandbox.isolation`.

A refused call fails as if the process lacked the privilege (``EPERM``). Calls from `FIRST_UNKNOWN` on do not
exist (``ENOSYS``), which makes the C library fall back to older ones. Calls in the ABI of another processor
(``int 0x80``) end the process; those of x32 do not exist.

References: https://docs.kernel.org/userspace-api/seccomp_filter.html; numbers from the kernel's
arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
"""

import struct
from typing import NamedTuple

FIRST_UNKNOWN = (
    435  # clone3, whose flags a filter cannot read; numbers from 424 on are the same on every processor
)
# the kernel's constant for each processor: include/uapi/linux/audit.h
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


class Guard(NamedTuple):
    """A system call that is allowed only if one argument, under a mask, has one of some values."""

    name: str
    argument: int
    mask: int
    allowed: tuple[int, ...]


_INT = 0xFFFFFFFF
GUARDS = (
    # the flags with which the C libraries start a thread; musl adds CLONE_DETACHED, which does nothing
    Guard("clone", 0, _INT ^ 0x00400000, (0x003D0F00,)),
    Guard("prctl", 0, _INT, (15, 16)),  # a thread's name; not PR_SET_PDEATHSIG, to outlive the judge
    Guard("socketpair", 0, _INT, (1,)),  # AF_UNIX: the kernel would load the module of another family
    # SOCK_STREAM, which asyncio needs: a datagram socket of a pair can still write to any socket with a path
    Guard("socketpair", 1, 0xF, (1,)),
    Guard("sendto", 3, 1, (0,)),  # no MSG_OOB, which has had vulnerabilities (CVE-2025-38236)
    Guard("recvfrom", 3, 1, (0,)),
    # all but those that set an owner and a signal: the kernel would send SIGKILL to the process that is named
    Guard("fcntl", 1, _INT, (0, 1, 2, 3, 4, 5, 6, 7, 1030)),  # duplicate, flags, locks
    # TCGETS to FIOCLEX, and FICLONE, which pathlib tries first to copy a file
    Guard("ioctl", 1, _INT, (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451, 0x40049409)),
    Guard("prlimit64", 0, _INT, (0,)),  # its own limits only
)

# name: number on x86_64, number on aarch64, where some of the older calls do not exist
# fmt: off
CALLS: dict[str, tuple[int | None, int | None]] = {
    # files and folders; Landlock restricts the paths
    "open": (2, None), "openat": (257, 56), "close": (3, 57), "close_range": (436, 436), "read": (0, 63),
    "write": (1, 64), "pread64": (17, 67), "pwrite64": (18, 68), "readv": (19, 65), "writev": (20, 66),
    "preadv": (295, 69), "pwritev": (296, 70), "preadv2": (327, 286), "pwritev2": (328, 287),
    "lseek": (8, 62), "ftruncate": (77, 46), "fallocate": (285, 47), "fadvise64": (221, 223),
    "fsync": (74, 82), "fdatasync": (75, 83), "flock": (73, 32), "fcntl": (72, 25), "ioctl": (16, 29),
    "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24), "sendfile": (40, 71),
    "copy_file_range": (326, 285), "stat": (4, None), "lstat": (6, None), "fstat": (5, 80),
    "newfstatat": (262, 79), "statx": (332, 291), "access": (21, None), "faccessat": (269, 48),
    "faccessat2": (439, 439), "readlink": (89, None), "readlinkat": (267, 78), "getcwd": (79, 17),
    "chdir": (80, 49), "fchdir": (81, 50), "getdents": (78, None), "getdents64": (217, 61),
    "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "unlink": (87, None),
    "unlinkat": (263, 35), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276),
    "link": (86, None), "linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36),
    "umask": (95, 166),
    # memory
    "brk": (12, 214), "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "mremap": (25, 216),
    "madvise": (28, 233), "msync": (26, 227),
    # threads and the end
    "clone": (56, 220), "exit": (60, 93), "exit_group": (231, 94), "futex": (202, 98),
    "set_robust_list": (273, 99), "rseq": (334, 293), "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123), "getcpu": (309, 168), "gettid": (186, 178), "prctl": (157, 167),
    # signals to itself
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "rt_sigpending": (127, 136), "rt_sigsuspend": (130, 133), "rt_sigtimedwait": (128, 137),
    "sigaltstack": (131, 132), "restart_syscall": (219, 128), "pause": (34, None), "alarm": (37, None),
    "getitimer": (36, 102), "setitimer": (38, 103),
    # time and random numbers
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101), "gettimeofday": (96, 169), "time": (201, None), "times": (100, 153),
    "getrusage": (98, 165), "getrandom": (318, 278),
    # ids, working folder and limits of the process
    "getpid": (39, 172), "getppid": (110, 173), "getuid": (102, 174), "geteuid": (107, 175),
    "getgid": (104, 176), "getegid": (108, 177), "getresuid": (118, 148), "getresgid": (120, 150),
    "getgroups": (115, 158), "getrlimit": (97, 163), "setrlimit": (160, 164), "prlimit64": (302, 261),
    "uname": (63, 160), "sysinfo": (99, 179),
    # waiting, and pairs of sockets, for asyncio
    "poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72),
    "epoll_create": (213, None), "epoll_create1": (291, 20), "epoll_ctl": (233, 21),
    "epoll_wait": (232, None), "epoll_pwait": (281, 22), "epoll_pwait2": (441, 441), "pipe": (22, None),
    "pipe2": (293, 59), "socketpair": (53, 199), "sendto": (44, 206), "recvfrom": (45, 207),
    "shutdown": (48, 210), "getsockopt": (55, 209), "getsockname": (51, 204), "getpeername": (52, 205),
}
# fmt: on


def numbers_of(machine: str) -> dict[str, int]:
    """Return the number of each allowed call on a processor.

    >>> numbers_of("x86_64")["openat"], numbers_of("aarch64")["openat"]
    (257, 56)
    """
    column = list(AUDIT).index(machine)
    return {name: number for name, call in CALLS.items() if (number := call[column]) is not None}


def program(machine: str) -> bytes:
    """Assemble the filter for a processor, eight bytes an instruction.

    Args:
        machine: Name of the processor, as in ``platform.machine``.

    Returns:
        The instructions; empty for a processor without a table of numbers.

    >>> struct.unpack("=HBBI", program("x86_64")[:8])  # load four bytes at offset 4: the processor
    (32, 0, 0, 4)
    >>> program("riscv64")
    b''
    """
    if machine not in AUDIT:
        return b""
    numbers = numbers_of(machine)
    load, mask, equal, greater, result = 0x20, 0x54, 0x15, 0x35, 0x06
    allow, kill, refuse, missing = 0x7FFF0000, 0x80000000, 0x00050000 | 1, 0x00050000 | 38
    # data: number of the call at 0, processor at 4, low halves of the arguments at 16, 24, ...
    steps = [(load, 0, 0, 4), (equal, 1, 0, AUDIT[machine]), (result, 0, 0, kill), (load, 0, 0, 0)]
    for guard in GUARDS:
        check = [(load, 0, 0, 16 + 8 * guard.argument), (mask, 0, 0, guard.mask)]
        check += [(equal, len(guard.allowed) - i, 0, value) for i, value in enumerate(guard.allowed)]
        check += [(result, 0, 0, refuse), (load, 0, 0, 0)]  # the next guard may be for the same call
        steps += [(equal, 0, len(check), numbers[guard.name]), *check]
    steps += [(equal, len(numbers) + 2 - i, 0, number) for i, number in enumerate(numbers.values())]
    steps += [(greater, 1, 0, FIRST_UNKNOWN), (result, 0, 0, refuse), (result, 0, 0, missing)]
    steps += [(result, 0, 0, allow)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
