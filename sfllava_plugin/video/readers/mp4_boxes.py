"""The one thing about MP4 files that FFmpeg keeps to itself: whether their tracks change codec settings on the way."""

import os
import struct

# That of an hour of video has two or three million bytes.
_LONGEST_INDEX = 64 * 2**20


def has_constant_settings(path: str) -> bool:
    """Whether each track of an MP4 or QuickTime file has one sample description; False where that is not clear."""
    index = _index(path)
    counts, place = [], index.find(b"stsd")
    while place >= 0:
        counts.append(index[place + 8 : place + 12])
        place = index.find(b"stsd", place + 4)
    return bool(counts) and set(counts) == {struct.pack(">I", 1)}


def _index(path: str) -> bytes:
    """The content of the file's box ``moov``, or nothing."""
    with open(path, "rb") as file:
        while len(head := file.read(8)) == 8:
            size, kind = struct.unpack(">I4s", head)
            read = 8
            if size == 1:
                (size,), read = struct.unpack(">Q", file.read(8).rjust(8, b"\0")), 16
            if kind == b"moov":
                return file.read(size - read) if read < size <= _LONGEST_INDEX else b""
            if size < read:
                break
            file.seek(size - read, os.SEEK_CUR)
    return b""
