"""Confine a worker: no network, no writing, no other process, few files.

Linux has several mechanisms, and containers disable some of them. All are tried, because each one covers what another
leaves open; `confine` returns the gaps that remain.
"""

import errno
import os
import sys
from collections.abc import Callable, Iterator

from sfllava_plugin.video.isolation import kernel
from sfllava_plugin.video.isolation.kernel import Refused

#: Gaps, in words for the operator: a confined process can still ...
REACHES_NETWORK = "reach the network"
WRITES_FILES = "write files"
READS_FILES = "read the server's other files"
SEES_PROCESSES = "read the memory and environment of other processes"

_CLONE_THREAD = 0x00010000

_SOCKETS = ("socket", "connect", "bind", "listen", "io_uring_setup")
#: These change files whatever their arguments are.
_CHANGES = (
    *("creat", "unlink", "unlinkat", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "rmdir", "truncate"),
    *("link", "linkat", "symlink", "symlinkat", "mknod", "mknodat", "utime", "utimes", "utimensat", "futimesat"),
    *("chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat"),
    *("setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"),
)
_PROCESSES = (
    *("execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev", "kcmp"),
    *("kill", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_open", "pidfd_getfd", "pidfd_send_signal"),
    *("shmget", "msgget", "semget", "mq_open"),
)
#: Parts of the kernel that no decoder needs, with a long record of vulnerabilities.
_KERNEL = ("bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key", "unshare", "setns", "mount")

#: System files that libraries read when they are loaded or start threads.
_SYSTEM_FILES = (
    *("/usr", "/lib", "/lib64", "/lib32", "/etc/ld.so.cache", "/etc/localtime", "/sys/devices/system"),
    *("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"),
)


def confine(all_files: bool) -> list[str]:
    """Confine this process for good; it must have a single thread.

    Args:
        all_files: let it read all files that its user may read; otherwise only those of the program.

    Returns:
        The gaps: what the process can still do.
    """
    if not _succeeds(kernel.forbid_new_privileges):
        return [REACHES_NETWORK, WRITES_FILES, READS_FILES, SEES_PROCESSES]
    has_own_network, has_own_users = _leave_namespaces()
    landlocked = _succeeds(lambda: kernel.landlock(["/"] if all_files else _program_files()))
    _succeeds(lambda: kernel.drop_capabilities(keep_reading=all_files))
    filtered = _succeeds(lambda: kernel.refuse(_refused()))
    is_prevented = {
        REACHES_NETWORK: has_own_network or filtered,
        WRITES_FILES: landlocked or filtered,
        READS_FILES: landlocked,
        SEES_PROCESSES: landlocked or has_own_users,
    }
    return [gap for gap, prevented in is_prevented.items() if not prevented]


def _succeeds(restrict: Callable[[], None]) -> bool:
    try:
        restrict()
    except OSError:
        return False
    return True


def _leave_namespaces() -> tuple[bool, bool]:
    """Return whether the network and the user namespace were left, in this order."""
    if _succeeds(lambda: kernel.unshare(kernel.NETWORK)):
        return True, False
    # In a user namespace of its own, root could no longer read files that others own.
    left = not kernel.reads_all_files() and _succeeds(lambda: kernel.unshare(kernel.USERS | kernel.NETWORK))
    return left, left


def _program_files() -> list[str]:
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    return [*_SYSTEM_FILES, *filter(None, [*sys.path, *libraries]), sys.prefix, sys.base_prefix]


def _refused() -> Iterator[Refused]:
    """Yield rules for the system calls that no decoder needs."""
    yield from map(Refused, (*_SOCKETS, *_CHANGES, *_PROCESSES, *_KERNEL))
    # A process may signal itself (abort) and set its own limits.
    yield Refused("tgkill", where=0, value=os.getpid())
    yield Refused("prlimit64", where=0, value=0)
    yield Refused("clone", where=0, mask=_CLONE_THREAD, value=0)
    # On ENOSYS the C library falls back to clone and openat, whose arguments a filter can check.
    yield Refused("clone3", error=errno.ENOSYS)
    yield Refused("openat2", error=errno.ENOSYS)
    for call, flags in (("open", 1), ("openat", 2)):
        for mask, value in (
            (os.O_ACCMODE, os.O_WRONLY),
            (os.O_ACCMODE, os.O_RDWR),
            (os.O_CREAT, os.O_CREAT),
            (os.O_TRUNC, os.O_TRUNC),
        ):
            yield Refused(call, where=flags, mask=mask, value=value, error=errno.EACCES)
