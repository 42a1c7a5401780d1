"""Atomic writes: write a temporary file, then rename it."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces ``path`` when the block ends.

    If the block fails, the temporary file is deleted and ``path`` stays as it was.

    Raises:
        OSError: the file cannot be written.
    """
    # Not tempfile, which creates files with mode 0600: here the user's umask applies.
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    with temporary.open("xb") as file:
        try:
            yield file
            file.flush()
            temporary.replace(path)
        except BaseException:
            temporary.unlink()
            raise
