"""Confine a process that decodes: no network, no writing, no other process, no more files than it needs.

Linux has several mechanisms, and containers refuse some of them. All are tried, since each keeps what another does not;
`confine` returns what none of them keeps.
"""

import errno
import os
import sys
from collections.abc import Callable, Iterator

from sfllava_plugin.video.isolation import kernel
from sfllava_plugin.video.isolation.kernel import Refused

#: What a confined process can still do, in words for the operator.
REACHES_NETWORK = "reach the network"
WRITES_FILES = "write files"
READS_FILES = "read the server's other files"
SEES_PROCESSES = "read the memory and environment of other processes"

_CLONE_THREAD = 0x00010000

_SOCKETS = ("socket", "connect", "bind", "listen", "io_uring_setup")
#: They change files whatever their arguments are.
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
#: Parts of the kernel that no decoder needs, and in which many of its faults were found.
_KERNEL = ("bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key", "unshare", "setns", "mount")

#: Files of the system that libraries look at when they are loaded or start threads.
_SYSTEM_FILES = (
    *("/usr", "/lib", "/lib64", "/lib32", "/etc/ld.so.cache", "/etc/localtime", "/sys/devices/system"),
    *("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"),
)


def confine(all_files: bool) -> list[str]:
    """Confine this process for good, before it has a second thread; returns what it still can do.

    Args:
        all_files: whether it may read all files that its user may; otherwise those that the program consists of.
    """
    if not _holds(kernel.forbid_new_privileges):
        return [REACHES_NETWORK, WRITES_FILES, READS_FILES, SEES_PROCESSES]
    has_own_network, has_own_users = _leave_network()
    landlocked = _holds(lambda: kernel.landlock(["/"] if all_files else _program_files()))
    _holds(lambda: kernel.drop_capabilities(but_reading=all_files))
    filtered = _holds(lambda: kernel.refuse(_refused()))
    kept = {
        REACHES_NETWORK: has_own_network or filtered,
        WRITES_FILES: landlocked or filtered,
        READS_FILES: landlocked,
        SEES_PROCESSES: landlocked or has_own_users,
    }
    return [ability for ability, is_kept in kept.items() if not is_kept]


def _holds(restrict: Callable[[], None]) -> bool:
    try:
        restrict()
    except OSError:
        return False
    return True


def _leave_network() -> tuple[bool, bool]:
    """Whether this process now has a network of its own, and users of its own."""
    if _holds(lambda: kernel.unshare(kernel.NETWORK)):
        return True, False
    # Among users of its own, root could no longer read what others own.
    own = not kernel.reads_all_files() and _holds(lambda: kernel.unshare(kernel.USERS | kernel.NETWORK))
    return own, own


def _program_files() -> list[str]:
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    return [*_SYSTEM_FILES, *filter(None, [*sys.path, *libraries]), sys.prefix, sys.base_prefix]


def _refused() -> Iterator[Refused]:
    """System calls that a decoder has no use for."""
    yield from map(Refused, (*_SOCKETS, *_CHANGES, *_PROCESSES, *_KERNEL))
    # Its own signals (abort) and limits are its own business.
    yield Refused("tgkill", where=0, value=os.getpid())
    yield Refused("prlimit64", where=0, value=0)
    yield Refused("clone", where=0, mask=_CLONE_THREAD, value=0)
    # The C library falls back to the calls above, whose arguments can be looked at.
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
