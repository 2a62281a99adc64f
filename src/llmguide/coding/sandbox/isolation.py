"""Isolate a process before it runs untrusted code: limits, namespaces, Landlock, seccomp.

Each layer is tried, and reports ``"on"`` or the reason why it is off:

- ``limits``: memory, file size, processor time, open files and processes (``setrlimit``). The kernel counts
  all processes of the user, except in ``namespaces``. Without these, ``seccomp`` forbids new processes, and
  only memory limits the number of threads; without both, the user's other processes count, too;
- ``unprivileged``: a sandbox started by root runs as user 65534, ``nobody``;
- ``capabilities``: the sandbox has none of root's privileges, and no program can restore them
  (https://man7.org/linux/man-pages/man7/capabilities.7.html);
- ``namespaces``: no network, its own process ids (all of its processes die with the first one), no shared
  memory with other processes;
- ``tmpfs``: the working folder is a small file system in memory, which is freed with the sandbox;
- ``landlock``: files can be read only in Python's library and the system's, and written only in the
  working folder (https://docs.kernel.org/userspace-api/landlock.html);
- ``seccomp``: the kernel accepts only the system calls that Python needs (`llmguide.coding.sandbox.seccomp`).
  The sandbox cannot start processes or programs, open sockets, send signals, trace, mount, share memory,
  outlive the judge, or change the owner, mode, times or attributes of a file, which Landlock does not
  control.

All but ``limits`` exist on Linux only. The file is run by path in a bare interpreter, and imports only the
standard library.

bubblewrap and nsjail are not used, even if they are installed. They depend on the same user namespaces, so
they add nothing without these; with these they would replace 30 lines here, but not Landlock, the filter and
the limits. bubblewrap 0.12 works as root and as another user, but takes 15 ms more per sandbox (a bare Python
takes 40 ms) and would be a second code path to test and report.
"""

import contextlib
import ctypes
import importlib
import os
import platform
import signal
import struct
import sys
import sysconfig
from collections.abc import Callable

LAYERS = ("limits", "unprivileged", "capabilities", "namespaces", "tmpfs", "landlock", "seccomp")
NOBODY = 65534
PROCESSES = 32  # threads count as processes
OPEN_FILES = 64
FOLDER_MIB = 16

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = (
    1,
    4,
    22,
    24,
    38,
)
_CLONE_NEWNS, _CLONE_NEWIPC, _CLONE_NEWUSER, _CLONE_NEWPID, _CLONE_NEWNET = (
    0x00020000,
    0x08000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_PRIVATE = 2, 4, 8, 0x4000, 0x40000


class UnavailableError(Exception):
    """A layer is not available on this machine; the message says why."""


def enter(
    folder: str,
    *,
    memory_mb: int,
    cpu_s: int,
    layers: tuple[str, ...],
    system_calls: bytes,
    close: tuple[int, ...],
    readable: tuple[str, ...] = (),
) -> dict[str, str]:
    """Isolate this process; returns in a descendant of the caller, while the caller waits and ends with it.

    With namespaces, there are three processes: the caller; the first process of the sandbox, which only
    waits; and the one that continues. Killing the process group of the caller kills the first process of the
    sandbox, and with it the kernel kills everything inside, even detached processes.

    Args:
        folder: Working folder, the only one that is writable.
        memory_mb: Limit of the address space, in MiB.
        cpu_s: Limit of processor time, in seconds.
        layers: Names of the layers to try.
        system_calls: Program of the seccomp filter; empty if there is none for this processor.
        close: File descriptors that only the process that continues may hold.
        readable: Folders that can be read besides the libraries of Python and of the system.

    Returns:
        The state of each of `LAYERS`: ``"on"``, or the reason why it is off.
    """
    steps: dict[str, Callable[[], None]] = {
        "unprivileged": lambda: _become_nobody(folder, readable),
        "namespaces": _unshare,
        "tmpfs": lambda: _mount_folder(folder),
        "capabilities": _drop_capabilities,
        "limits": lambda: _limit(
            {
                "RLIMIT_AS": memory_mb << 20,
                "RLIMIT_FSIZE": FOLDER_MIB << 20,
                "RLIMIT_CPU": cpu_s,
                "RLIMIT_NOFILE": OPEN_FILES,
                "RLIMIT_CORE": 0,
                "RLIMIT_MEMLOCK": 0,
                "RLIMIT_MSGQUEUE": 0,
            }
            | ({"RLIMIT_NPROC": PROCESSES} if state["namespaces"] == "on" else {})
        ),
        "landlock": lambda: _landlock(folder, readable),
        "seccomp": lambda: _seccomp(system_calls),
    }
    state: dict[str, str] = {}
    if sys.platform == "linux":  # no program can restore privileges; Landlock and seccomp require this, too
        _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for name, step in steps.items():
        if name == "limits":  # the rest runs in the last process only
            _descend(1 + (state["namespaces"] == "on"), close)
        if name not in layers:
            state[name] = "not asked for"
        elif name == "tmpfs" and state["namespaces"] != "on":
            state[name] = "needs namespaces"
        else:
            state[name] = _attempt(step)
    if state["limits"] == "on" and "on" not in (state["namespaces"], state["seccomp"]):
        _limit({"RLIMIT_NPROC": PROCESSES})
    return state


def _attempt(step: Callable[[], None]) -> str:
    try:
        step()
    except (UnavailableError, OSError, ImportError) as error:
        return str(error) or type(error).__name__
    return "on"


def _descend(generations: int, close: tuple[int, ...]) -> None:
    _end_with_parent()  # a killed judge cannot clean up
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


def _limit(wanted: dict[str, int]) -> None:
    resource = importlib.import_module("resource")  # missing on Windows, where this layer reports it
    for name, value in wanted.items():
        if hasattr(resource, name):
            hard = resource.getrlimit(getattr(resource, name))[1]
            limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(getattr(resource, name), (limit, limit))


def _become_nobody(folder: str, readable: tuple[str, ...]) -> None:
    _need_linux()
    if os.geteuid() != 0:
        return
    libraries = [sysconfig.get_path("stdlib"), *readable]
    os.chown(folder, NOBODY, NOBODY)
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    refused = [path for path in libraries if not os.access(path, os.R_OK | os.X_OK, effective_ids=True)]
    refused += [folder] * (not os.access(folder, os.W_OK | os.X_OK, effective_ids=True))
    os.seteuid(0)
    os.setegid(0)
    if refused:
        raise UnavailableError(f"{refused[0]} is closed to the user nobody, so the sandbox runs as root")
    _empty_bounding_set()  # a namespace would restore them; without one, nobody could not drop them later
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    _call("prctl", _PR_SET_DUMPABLE, 1, 0, 0, 0)  # required for writing the maps of the user namespace


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
    _need_linux()
    _empty_bounding_set()
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0))
    _call("capset", header, bytes(24))


def _empty_bounding_set() -> None:
    with contextlib.suppress(OSError):  # at the first number that is not a capability, or without permission
        for capability in range(64):
            _call("prctl", _PR_CAPBSET_DROP, capability, 0, 0, 0)


def _landlock(folder: str, readable: tuple[str, ...]) -> None:
    _need_linux()
    create, add, restrict = 444, 445, 446  # the same on every processor
    version = _call("syscall", create, None, 0, 1)
    # rights by version: 1 has 13 of files, 2 adds refer, 3 truncate, 5 ioctl on devices
    files = (1 << (13 + (version >= 2) + (version >= 3) + (version >= 5))) - 1
    if version >= 6:
        attributes = struct.pack("=QQQ", files, 3, 3)  # no TCP, signals or abstract sockets to the outside
    elif version >= 4:
        attributes = struct.pack("=QQ", files, 3)
    else:
        attributes = struct.pack("=Q", files)
    rules = _call("syscall", create, ctypes.create_string_buffer(attributes), len(attributes), 0)
    execute, write, read, read_folder = 1, 2, 4, 8
    library = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), *readable]
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
    _call("syscall", restrict, rules, 0)
    os.close(rules)


def _seccomp(program: bytes) -> None:
    _need_linux()
    if not program:
        raise UnavailableError(f"no system call numbers for {platform.machine()}")
    buffer = ctypes.create_string_buffer(program)

    class Filter(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.c_void_p))

    pointer = ctypes.byref(Filter(len(program) // 8, ctypes.addressof(buffer)))
    _call("prctl", _PR_SET_SECCOMP, 2, pointer, 0, 0)


def _need_linux() -> None:
    if sys.platform != "linux":
        raise UnavailableError(f"not available on {sys.platform}")


def _call(name: str, *arguments: object) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    boxed = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    answer: int = getattr(library, name)(*boxed)
    if answer == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
    return answer
