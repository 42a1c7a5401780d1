"""Write folders aside, and clear away those of killed processes.

Preparing PLLaVA writes gigabytes, and a process that is killed leaves them behind. Each such folder holds a lock file,
which its process keeps locked. The system unlocks it when the process ends, whatever its number or its machine.
"""

import fcntl
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

_LOCK = "in-use"
_SUFFIX = ".writing"


@contextmanager
def aside(directory: Path) -> Iterator[Path]:
    """Make a folder beside ``directory``; remove it unless it was moved.

    Raises:
        OSError: it cannot be made.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    holder, lock = _locked(directory)
    with lock:
        try:
            (holder / "new").mkdir()
            yield holder / "new"
        finally:
            shutil.rmtree(holder, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left in ``folder``; spare running ones."""
    for holder in folder.glob(f".*{_SUFFIX}"):
        try:
            # Without a lock file it has only just been made, or is not ours.
            with (holder / _LOCK).open("r+b") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(holder, ignore_errors=True)
        except OSError:
            continue


def _locked(directory: Path) -> tuple[Path, IO[bytes]]:
    """Make a folder that holds a locked file."""
    while True:
        # Not one of tempfile's, which only its owner may read: the user's umask decides.
        holder = directory.parent / f".{directory.name}-{secrets.token_hex(4)}{_SUFFIX}"
        holder.mkdir()
        lock = (holder / _LOCK).open("xb")
        with suppress(OSError):  # a file system without locks, where nobody removes anything either
            fcntl.flock(lock, fcntl.LOCK_EX)
        # Another process may have found it before it was locked, and removed it.
        if (holder / _LOCK).exists():
            return holder, lock
        lock.close()
