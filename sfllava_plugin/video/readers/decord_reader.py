"""Frames by number out of one video file, with decord: fast, for healthy files with an index.

Does not know what to do about a video that decord cannot be trusted with; that is pyav_reader.py.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

from sfllava_plugin.video.errors import DecodeError
from sfllava_plugin.video.readers.pyav_reader import PyAVReader
from sfllava_plugin.video.readers.reader import sane_fps

# All that decord is shown. Its FFmpeg is 4.1.6 of 2020: every decoder in it that may stay shut stays shut, and it may
# open those of all tracks to find out what they are. The sound is that of nearly all videos.
_CODECS = frozenset({"h264", "hevc", "vp8", "vp9", "mpeg4", "aac", "mp3", "opus", "vorbis"})

# The boxes that an MP4 file begins with, behind their four bytes of length.
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")

# decord marks the end of a stream 128 times and counts the marks as frames when it skips: a skip
# that goes further past the true end than that never returns.
_DECORD_MAX_SKIP = 100

# decord takes memory for as many frames as the header claims, and without it kills the process.
_DECORD_MAX_FRAMES = 10_000_000


class DecordReader:
    """Reads a healthy video, seeking by key frame: fast in long ones. Any doubt is a DecodeError.

    decord 0.6.0 numbers frames by the packets in the file. Where packets are hidden (a trimmed
    mp4), missing or out of order it returns a wrong frame, repeats one, or loops for ever
    (github.com/dmlc/decord/issues/373); its limit DECORD_EOF_RETRY_MAX does not cover that loop.
    So only containers with an index are read, doubtful timestamps are refused, no skip is long
    enough to loop, and the video has to end where decord believes it ends.

    Args:
        path: absolute path of a file.
        pyav: another reader of the same file, to be asked which codecs are in it and how long it is.

    Raises:
        DecodeError: decord is not installed, may not see it, cannot open it, or there is doubt.
    """

    name = "decord"

    def __init__(self, path: str, pyav: PyAVReader):
        decord = _decord()
        if decord is None or pyav.count > _DECORD_MAX_FRAMES or not (pyav.codecs <= _CODECS and _has_index(path)):
            raise DecodeError("not for decord")
        try:
            # Any frame that decord had to make up is an error; 0 would mean no limit.
            self._reader = decord.VideoReader(path, fault_tol=1e-9)
            self.count = len(self._reader)
            self.fps = sane_fps(self._reader.get_avg_fps())
            self._keys = sorted(self._reader.get_key_indices())
            starts = self._reader.get_frame_timestamp(range(self.count))[:, 0]
        except Exception as error:  # decord raises RuntimeError, AssertionError and its own
            raise DecodeError("decord cannot open it") from error
        # The container cuts away frames before 0; equal or absent times leave decord no order.
        if not self._keys or starts[0] < -1e-3 or not (np.diff(starts) > 0).all():
            raise DecodeError("doubtful timestamps")
        self._pyav = pyav
        self._near_end = starts[-min(_DECORD_MAX_SKIP, self.count)]

    def frames(self, wanted: Sequence[int]) -> Iterator[np.ndarray]:
        """Yields the frames numbered `wanted` (rising), then checks that the last two are there.

        Two, because after a seek decord may pass an earlier frame off as the first missing one, but
        not as the next as well.

        Raises:
            DecodeError: decord fails, or made a frame up.
        """
        # A seek to a hidden key frame lands before it, and all the way from there is one skip. It passes
        # the true end by more than a skip only if the frame before it was as far away.
        longest = max(np.diff([0, *wanted, self.count - 1]))
        if longest > _DECORD_MAX_SKIP and not self._pyav.has_frame_at(self._near_end):
            raise DecodeError("shorter than decord believes")
        at = 0
        if wanted[0] > 0:
            self._frame(0, 0)  # decord reports a missing frame only after one that it has returned
        for index in wanted:
            yield self._frame(index, at)
            at = index
        for index in range(max(0, self.count - 2), self.count):
            if index > at:
                self._frame(index, at)
                at = index

    def _frame(self, index: int, at: int) -> np.ndarray:
        """Frame `index`, coming from `at`, in steps that end even where frames are missing."""
        start = max(at, self._keys[max(0, bisect_right(self._keys, index) - 1)])
        try:
            for step in range(start + _DECORD_MAX_SKIP, index, _DECORD_MAX_SKIP):
                self._reader[step]
            frame = self._reader[index]
        except Exception as error:  # as above
            raise DecodeError("decord lost a frame") from error
        # A program that uses decord too may have set its bridge to torch, for the whole process.
        picture = frame.asnumpy() if hasattr(frame, "asnumpy") else np.asarray(frame)
        if picture.ndim != 3 or picture.shape[2] != 3:  # what becomes of a frame of 2x2
            raise DecodeError("decord made up a frame's shape")
        return picture


def _has_index(path: str) -> bool:
    """Whether this is MP4, QuickTime, Matroska, WebM or AVI; else decord's seeks go astray."""
    with open(path, "rb") as file:
        head = file.read(8)
    return head[4:] in _MP4_BOXES or head[:4] in (b"\x1aE\xdf\xa3", b"RIFF")


@cache
def _decord():
    try:
        import decord
    except (ImportError, OSError):  # no wheel for this platform, or a library it needs is missing
        return None
    decord.logging.set_level(decord.logging.QUIET)
    return decord
