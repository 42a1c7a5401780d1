"""Check MP4 files for changing codec settings, which FFmpeg does not report."""

import os
import struct

# The index of an hour of video has two or three million bytes.
_MAX_INDEX_BYTES = 64 * 2**20


def has_constant_settings(path: str) -> bool:
    """Return whether each track of an MP4 has one sample description.

    False also where that is not clear.
    """
    index = _index(path)
    counts, place = [], index.find(b"stsd")
    while place >= 0:
        counts.append(index[place + 8 : place + 12])
        place = index.find(b"stsd", place + 4)
    return bool(counts) and set(counts) == {struct.pack(">I", 1)}


def _index(path: str) -> bytes:
    """Return the content of the file's ``moov`` box.

    Empty if there is none, or it is too long.
    """
    with open(path, "rb") as file:
        while len(head := file.read(8)) == 8:
            size, kind = struct.unpack(">I4s", head)
            read = 8
            if size == 1:
                (size,), read = struct.unpack(">Q", file.read(8).rjust(8, b"\0")), 16
            if kind == b"moov":
                return file.read(size - read) if read < size <= _MAX_INDEX_BYTES else b""
            if size < read:
                break
            file.seek(size - read, os.SEEK_CUR)
    return b""
