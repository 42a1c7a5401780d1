"""Linux system calls that confine a process, not wrapped by Python.

Each function raises OSError where the kernel, the container or the platform does not support it. sandbox.py puts them
to use.
"""

import ctypes
import errno
import os
from collections.abc import Iterable
from typing import NamedTuple

NETWORK, USERS = 0x40000000, 0x10000000  # CLONE_NEWNET, CLONE_NEWUSER
#: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: with either, root reads files that others own.
_READS_ALL_FILES = 1 << 1 | 1 << 2
_READ_SEARCH = 1 << 2

_NO_NEW_PRIVILEGES = 38  # PR_SET_NO_NEW_PRIVS
_HEADER = (ctypes.c_uint32 * 2)(0x20080522, 0)  # of capget and capset: the version, and this process

# Landlock: the same numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_READ_FILE, _READ_FOLDER = 1 << 2, 1 << 3
#: Number of file rights in each version of Landlock; later versions have _FILE_RIGHTS_NOW.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
_FILE_RIGHTS_NOW = 16
_TCP, _TCP_SINCE = 0b11, 4  # bind and connect
_SCOPES, _SCOPES_SINCE = 0b11, 6  # abstract sockets and signals

# libseccomp
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
_NOT_EQUAL, _MASKED_EQUAL = 1, 7


def _call(function: str, *arguments: object) -> int:
    """Call a function of the C library.

    Raises:
        OSError: there is no such function, or it failed.
    """
    # The kernel's integers are as wide as a pointer.
    wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    try:
        result: int = getattr(ctypes.CDLL(None, use_errno=True), function)(*wide)
    except AttributeError:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), function) from None
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), function)
    return result


def forbid_new_privileges() -> None:
    """Give up gaining privileges, even by running a set-uid program."""
    _call("prctl", _NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def unshare(namespaces: int) -> None:
    """Move this process, which must have a single thread, into new namespaces."""
    _call("unshare", namespaces)


def reads_all_files() -> bool:
    """Return whether this process may, like root, read all files."""
    return bool(_capabilities() & _READS_ALL_FILES)


def drop_capabilities(keep_reading: bool) -> None:
    """Drop all capabilities, except that to read all files if ``keep_reading``."""
    kept = _capabilities() & _READ_SEARCH if keep_reading else 0
    _call("capset", _HEADER, (ctypes.c_uint32 * 6)(kept, kept, 0, 0, 0, 0))


def _capabilities() -> int:
    """Return the lower 32 bits of the effective capabilities."""
    sets = (ctypes.c_uint32 * 6)()
    _call("capget", _HEADER, sets)
    return sets[0]


class _Ruleset(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("rights", ctypes.c_uint64), ("folder", ctypes.c_int32)]


def landlock(readable: Iterable[str]) -> None:
    """Allow reading of and below the paths that exist, and nothing else.

    Writing, running programs and reaching other processes are refused. Files in memory (memfd_create) stay accessible
    to their owner. Call `forbid_new_privileges` first.
    """
    version = _call("syscall", _CREATE_RULESET, None, 0, 1)
    rights = (1 << _FILE_RIGHTS.get(version, _FILE_RIGHTS_NOW)) - 1
    rules = _Ruleset(rights, _TCP if version >= _TCP_SINCE else 0, _SCOPES if version >= _SCOPES_SINCE else 0)
    ruleset = _call("syscall", _CREATE_RULESET, ctypes.byref(rules), ctypes.sizeof(rules), 0)
    try:
        for path in readable:
            _allow_reading(ruleset, path)
        _call("syscall", _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow_reading(ruleset: int, path: str) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # not on this machine
        return
    try:
        rights = _READ_FILE | (_READ_FOLDER if os.path.isdir(path) else 0)
        _call("syscall", _ADD_RULE, ruleset, 1, ctypes.byref(_Beneath(rights, opened)), 0)
    finally:
        os.close(opened)


class Refused(NamedTuple):
    """A system call to refuse, always or depending on one argument.

    Attributes:
        call: its name.
        where: the position of the argument; None to refuse every call.
        mask, value: refuse if ``argument & mask == value``; without a mask, if the argument differs from ``value``.
        error: the error number that the caller gets.
    """

    call: str
    where: int | None = None
    mask: int = 0
    value: int = 0
    error: int = errno.EPERM


class _Comparison(ctypes.Structure):
    _fields_ = [
        ("argument", ctypes.c_uint),
        ("how", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    ]


def refuse(refused: Iterable[Refused]) -> None:
    """Refuse system calls from now on, with libseccomp.

    Most Linux systems have it.
    """
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_ALLOW)))
    if not context:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM), "seccomp_init")
    try:
        for rule in refused:
            number = library.seccomp_syscall_resolve_name(rule.call.encode())
            if number == -1:  # newer than the library
                continue
            comparisons = _comparisons(rule)
            action = ctypes.c_uint32(_REFUSE | rule.error)
            _seccomp(library.seccomp_rule_add_array(context, action, number, len(comparisons), comparisons))
        _seccomp(library.seccomp_load(context))
    finally:
        library.seccomp_release(context)


def _comparisons(rule: Refused) -> ctypes.Array[_Comparison]:
    if rule.where is None:
        return (_Comparison * 0)()
    if not rule.mask:
        return (_Comparison * 1)(_Comparison(rule.where, _NOT_EQUAL, rule.value, 0))
    return (_Comparison * 1)(_Comparison(rule.where, _MASKED_EQUAL, rule.mask, rule.value))


def _seccomp(result: int) -> None:
    if result < 0:
        raise OSError(-result, os.strerror(-result), "seccomp")
