"""Locks a process into a box before it runs code that nobody has read: limits, namespaces, Landlock, seccomp.

Each layer is tried and reports ``"on"`` or the reason why it is off, so that whoever asks can see what holds
on this machine:

- ``limits``: memory, size of files, processor time, open files and processes (``setrlimit``);
- ``unprivileged``: a box started by root becomes the user 65534, ``nobody``;
- ``namespaces``: no network, its own process numbers (all of its processes die with the first one), no shared
  memory with the outside;
- ``tmpfs``: the working folder is a small file system in memory, which ends with the box;
- ``landlock``: files can be read only in Python's library and the system's, and written only in the
  working folder (https://docs.kernel.org/userspace-api/landlock.html);
- ``seccomp``: the kernel refuses to start processes or programs, open sockets, send signals, trace, mount,
  change owner, mode, times or attributes of a file, which Landlock does not look at, change limits, priority
  or processors of other processes, and a few more (https://docs.kernel.org/userspace-api/seccomp_filter.html).

All but ``limits`` exist on Linux only. The file is run by path in a bare interpreter and imports nothing but
the standard library.
"""

import ctypes
import importlib
import os
import platform
import signal
import struct
import sys
import sysconfig
from collections.abc import Callable
from typing import NamedTuple

LAYERS = ("limits", "unprivileged", "namespaces", "tmpfs", "landlock", "seccomp")
NOBODY = 65534
PROCESSES = 32  # threads count
OPEN_FILES = 64
FOLDER_MIB = 16

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_CLONE_NEWNS, _CLONE_NEWIPC, _CLONE_NEWUSER, _CLONE_NEWPID, _CLONE_NEWNET = (
    0x00020000,
    0x08000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_PRIVATE = 2, 4, 8, 0x4000, 0x40000


class Guard(NamedTuple):
    """A system call that is allowed only if one argument, under a mask, has one of some values."""

    name: str
    argument: int
    mask: int
    allowed: tuple[int, ...]


GUARDS = (
    Guard("clone", 0, 0x00010000, (0x00010000,)),  # CLONE_THREAD: threads, but no processes
    Guard("socketpair", 0, 0xFFFFFFFF, (1,)),  # AF_UNIX: the kernel would load the module of another family
    # SOCK_STREAM, which asyncio needs: a datagram socket of a pair can still write to any socket with a path
    Guard("socketpair", 1, 0xF, (1,)),
    # all but those that set an owner and a signal: the kernel would send SIGKILL to the process that is named
    Guard("fcntl", 1, 0xFFFFFFFF, (0, 1, 2, 3, 4, 5, 6, 7, 1030)),  # duplicate, flags, locks
    Guard("ioctl", 1, 0xFFFFFFFF, (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)),  # TCGETS to FIOCLEX
    Guard("prlimit64", 0, 0xFFFFFFFF, (0,)),  # limits of oneself
)


class Machine(NamedTuple):
    """Numbers of system calls, which differ between processors; those of `GUARDS` in their order."""

    audit: int
    clone3: int
    capset: int
    guarded: tuple[int, ...]
    denied: tuple[int, ...]


# Denied: fork vfork execve execveat socket ptrace process_vm_readv process_vm_writev process_madvise kill
# tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal pidfd_getfd setpgid setsid setpriority
# sched_setparam sched_setscheduler sched_setaffinity sched_setattr ioprio_set migrate_pages move_pages
# mount umount2 unshare setns bpf io_uring_setup userfaultfd perf_event_open add_key request_key keyctl
# open_by_handle_at memfd_create memfd_secret shmget msgget semget mq_open init_module finit_module syslog
# sync syncfs, truncate (which Landlock looks at since version 3), chmod chown utime setxattr removexattr in
# all their forms, file_setattr inotify_add_watch fanotify_init; on arm64 some of the older ones, such as
# fork and chmod, do not exist. From the kernel's arch/x86/entry/syscalls/syscall_64.tbl and
# include/uapi/asm-generic/unistd.h.
# fmt: off
MACHINES = {
    "x86_64": Machine(0xC000003E, 435, 126, (56, 53, 53, 72, 16, 302), (
        57, 58, 59, 322, 41, 101, 310, 311, 440, 62, 200, 234, 129, 297, 424, 438, 109, 112, 141, 142, 144,
        203, 314, 251, 256, 279, 165, 166, 272, 308, 321, 425, 323, 298, 248, 249, 250, 304, 319, 447, 29,
        68, 64, 240, 175, 313, 103, 162, 306, 76, 90, 91, 92, 93, 94, 132, 235, 261, 268, 452, 260, 280,
        188, 189, 190, 197, 198, 199, 463, 466, 469, 254, 300)),
    "aarch64": Machine(0xC00000B7, 435, 91, (220, 199, 199, 25, 29, 261), (
        221, 281, 198, 117, 270, 271, 440, 129, 130, 131, 138, 240, 424, 438, 154, 157, 140, 118, 119, 122,
        274, 30, 238, 239, 40, 39, 97, 268, 280, 425, 282, 241, 217, 218, 219, 265, 279, 447, 194, 186, 190,
        180, 105, 273, 116, 81, 267, 45, 52, 53, 452, 54, 55, 88, 5, 6, 7, 14, 15, 16, 463, 466, 469, 27,
        262)),
}
# fmt: on


class UnavailableError(Exception):
    """A layer cannot be had here, for the reason given."""


def enter(
    folder: str, *, memory_mb: int, cpu_s: int, layers: tuple[str, ...], close: tuple[int, ...]
) -> dict[str, str]:
    """Shut this process in; returns in a descendant of the caller, while the caller waits and ends with it.

    With namespaces, three processes remain: the caller; the first process of the box, which only waits; and
    the one that goes on. Killing the process group of the caller kills the first process of the box, and
    with it the kernel kills everything inside, however it has detached itself.

    Args:
        folder: Working folder, the only one in which files can be written.
        memory_mb: Limit of the address space.
        cpu_s: Limit of processor time.
        layers: Those to try.
        close: Descriptors that only the process that goes on may hold.

    Returns:
        For each of `LAYERS` ``"on"`` or why it is off.
    """
    steps: dict[str, Callable[[], None]] = {
        "unprivileged": lambda: _become_nobody(folder),
        "namespaces": _unshare,
        "tmpfs": lambda: _mount_folder(folder),
        "limits": lambda: _limit(memory_mb, cpu_s),
        "landlock": lambda: _landlock(folder),
        "seccomp": _seccomp,
    }
    state: dict[str, str] = {}
    for name, step in steps.items():
        if name == "limits":  # what follows is for the last process only
            _descend(1 + (state["namespaces"] == "on"), close)
        if name not in layers:
            state[name] = "not asked for"
        elif name == "tmpfs" and state["namespaces"] != "on":
            state[name] = "needs namespaces"
        else:
            state[name] = _attempt(step)
        if name == "tmpfs" and state["namespaces"] == "on":  # mounting is done; the box needs no rights
            _drop_capabilities()
    return state


def _attempt(step: Callable[[], None]) -> str:
    try:
        step()
    except (UnavailableError, OSError, ImportError) as error:
        return str(error) or type(error).__name__
    return "on"


def _descend(generations: int, close: tuple[int, ...]) -> None:
    _end_with_parent()  # the judge may be killed, and cannot clean up then
    for _ in range(generations):
        child = os.fork()
        if child:
            for descriptor in close:
                os.close(descriptor)
            _, status = os.waitpid(child, 0)
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
        _end_with_parent()


def _end_with_parent() -> None:
    if sys.platform == "linux":
        _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _limit(memory_mb: int, cpu_s: int) -> None:
    resource = importlib.import_module("resource")  # missing on Windows, where this layer says so

    size = memory_mb << 20
    wanted = {
        "RLIMIT_AS": size,
        "RLIMIT_FSIZE": FOLDER_MIB << 20,
        "RLIMIT_CPU": cpu_s,
        "RLIMIT_NOFILE": OPEN_FILES,
        "RLIMIT_NPROC": PROCESSES,
        "RLIMIT_CORE": 0,
        "RLIMIT_MEMLOCK": 0,
        "RLIMIT_MSGQUEUE": 0,
    }
    for name, value in wanted.items():
        if hasattr(resource, name):
            hard = resource.getrlimit(getattr(resource, name))[1]
            limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(getattr(resource, name), (limit, limit))


def _become_nobody(folder: str) -> None:
    _need_linux()
    if os.geteuid() != 0:
        return
    library = sysconfig.get_path("stdlib")
    os.chown(folder, NOBODY, NOBODY)
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    readable = os.access(library, os.R_OK | os.X_OK, effective_ids=True) and os.access(
        folder, os.W_OK | os.X_OK, effective_ids=True
    )
    os.seteuid(0)
    os.setegid(0)
    if not readable:
        raise UnavailableError(f"{library} cannot be read by the user nobody: runs as root")
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    _call("prctl", _PR_SET_DUMPABLE, 1, 0, 0, 0)  # or the maps of the user namespace cannot be written


def _unshare() -> None:
    _need_linux()
    user, group = os.getuid(), os.getgid()
    _call("unshare", _CLONE_NEWUSER | _CLONE_NEWPID | _CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWNS)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        descriptor = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(descriptor, text.encode())
        os.close(descriptor)


def _mount_folder(folder: str) -> None:
    _need_linux()
    _call("mount", None, b"/", None, _MS_REC | _MS_PRIVATE, None)
    options = f"size={FOLDER_MIB}m,nr_inodes=1024,mode=700".encode()
    _call("mount", b"tmpfs", folder.encode(), b"tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, options)
    os.chdir(folder)


def _drop_capabilities() -> None:
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0))
    none = ctypes.create_string_buffer(bytes(24))
    _call("syscall", _machine().capset, header, none)


def _landlock(folder: str) -> None:
    _need_linux()
    create, add, restrict = 444, 445, 446  # the same on every processor
    version = _call("syscall", create, None, 0, 1)
    # rights by version: 1 has 13 of files, 2 adds refer, 3 truncate, 5 ioctl on devices
    files = (1 << (13 + (version >= 2) + (version >= 3) + (version >= 5))) - 1
    if version >= 6:
        attributes = struct.pack("=QQQ", files, 3, 3)  # no TCP, no signals or abstract sockets to the outside
    elif version >= 4:
        attributes = struct.pack("=QQ", files, 3)
    else:
        attributes = struct.pack("=Q", files)
    rules = _call("syscall", create, ctypes.create_string_buffer(attributes), len(attributes), 0)
    execute, write, read, read_folder = 1, 2, 4, 8
    library = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
    system = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo"]
    allowed = [(path, execute | read | read_folder) for path in (*library, *system)]
    allowed += [(f"/dev/{name}", read | write) for name in ("null", "zero")]
    allowed += [("/dev/urandom", read), (folder, files & ~execute)]
    for path, rights in allowed:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, descriptor))
        _call("syscall", add, rules, 1, rule, 0)
        os.close(descriptor)
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _call("syscall", restrict, rules, 0)
    os.close(rules)


def _seccomp() -> None:
    _need_linux()
    program = seccomp_program(_machine())
    buffer = ctypes.create_string_buffer(program)

    class Filter(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.c_void_p))

    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    pointer = ctypes.byref(Filter(len(program) // 8, ctypes.addressof(buffer)))
    _call("prctl", _PR_SET_SECCOMP, 2, pointer, 0, 0)


def seccomp_program(machine: Machine) -> bytes:
    """Assemble the filter: eight bytes an instruction, run by the kernel at every system call.

    >>> program = seccomp_program(MACHINES["x86_64"])
    >>> struct.unpack("=HBBI", program[:8])  # load four bytes at offset 4: the processor
    (32, 0, 0, 4)
    """
    load, mask, equal, greater, jump, result = 0x20, 0x54, 0x15, 0x35, 0x05, 0x06
    allow, kill, refuse, missing = 0x7FFF0000, 0x80000000, 0x00050000 | 1, 0x00050000 | 38
    # data: number of the call at 0, processor at 4, low halves of the arguments at 16, 24, ...
    program = [
        (load, 0, 0, 4),
        (equal, 1, 0, machine.audit),
        (result, 0, 0, kill),  # calls of another processor have other numbers
        (load, 0, 0, 0),
        (greater, 0, 1, 0x40000000),  # the x32 variants of the calls
        (result, 0, 0, refuse),
        (equal, 0, 1, machine.clone3),
        (result, 0, 0, missing),  # its flags lie in memory; the C library falls back to clone
    ]
    left = len(machine.denied)
    program += [(equal, left - i, 0, number) for i, number in enumerate(machine.denied)]
    program += [(jump, 0, 0, 1), (result, 0, 0, refuse)]
    for guard, number in zip(GUARDS, machine.guarded, strict=True):
        left = len(guard.allowed)
        check = [(load, 0, 0, 16 + 8 * guard.argument), (mask, 0, 0, guard.mask)]
        check += [(equal, left - i, 0, value) for i, value in enumerate(guard.allowed)]
        check += [(result, 0, 0, refuse), (load, 0, 0, 0)]  # the next guard may be of the same call
        program += [(equal, 0, len(check), number), *check]
    program += [(result, 0, 0, allow)]
    return b"".join(struct.pack("=HBBI", *step) for step in program)


def _need_linux() -> None:
    if sys.platform != "linux":
        raise UnavailableError(f"{sys.platform} does not have it")


def _machine() -> Machine:
    name = platform.machine()
    if name not in MACHINES:
        raise UnavailableError(f"no system call numbers for {name}")
    return MACHINES[name]


def _call(name: str, *arguments: object) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    boxed = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    answer: int = getattr(library, name)(*boxed)
    if answer == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
    return answer
