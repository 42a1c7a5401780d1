"""Files that are there whole or not at all: written aside and renamed."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def written_aside(path: Path) -> Iterator[IO[bytes]]:
    """A file beside ``path`` that takes its place when the block ends, and is gone if the block fails.

    Raises:
        OSError: it cannot be written.
    """
    # Not a temporary file of the library's: the rights are those that the user's umask gives.
    aside = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    with aside.open("xb") as file:
        try:
            yield file
            file.flush()
            aside.replace(path)
        except BaseException:
            aside.unlink()
            raise
