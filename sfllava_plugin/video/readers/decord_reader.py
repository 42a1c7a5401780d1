"""Read frames by number with decord, from healthy files with an index.

pyav_reader.py takes the videos that decord cannot be trusted with.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cache
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from sfllava_plugin.video.errors import DecodeError
from sfllava_plugin.video.readers.pyav_reader import PyAVReader
from sfllava_plugin.video.readers.reader import sane_fps

# The codecs of files that decord may open. It bundles FFmpeg 4.1.6 of 2020, so as few of its decoders as possible are
# exposed; to probe a file it may open those of all tracks. The audio codecs are those of nearly all videos.
_CODECS = frozenset({"h264", "hevc", "vp8", "vp9", "mpeg4", "aac", "mp3", "opus", "vorbis"})

# The boxes an MP4 file may begin with; their length precedes them, in four bytes.
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")

# decord marks the end of a stream 128 times, and counts the marks as frames when it skips. A skip that goes further
# past the true end never returns.
_DECORD_MAX_SKIP = 100

# decord allocates memory for as many frames as the header claims, and kills the process if there is not enough.
_DECORD_MAX_FRAMES = 10_000_000


class DecordReader:
    """Reads healthy videos, seeking by key frame; any doubt raises DecodeError.

    decord 0.6.0 numbers frames by the packets in the file. Where packets are hidden (a trimmed MP4), missing or out of
    order, it returns a wrong frame, repeats one, or loops for ever (github.com/dmlc/decord/issues/373); its limit
    DECORD_EOF_RETRY_MAX does not cover that loop. So only containers with an index are read, doubtful timestamps are
    refused, no skip is long enough to loop, and the video must end where decord expects its end.

    Args:
        path: absolute path of a file.
        pyav: a PyAV reader of the same file, which gives its codecs and its length.

    Raises:
        DecodeError: decord is not installed, cannot open the file, or cannot be trusted with it.
    """

    name = "decord"

    def __init__(self, path: str, pyav: PyAVReader):
        decord = _decord()
        if decord is None or pyav.count > _DECORD_MAX_FRAMES or not (pyav.codecs <= _CODECS and _has_index(path)):
            raise DecodeError("not for decord")
        try:
            # Fail on the first frame that decord has to make up; 0 would mean no limit.
            self._reader = decord.VideoReader(path, fault_tol=1e-9)
            self.count = len(self._reader)
            self.fps = sane_fps(self._reader.get_avg_fps())
            self._keys = sorted(self._reader.get_key_indices())
            starts = self._reader.get_frame_timestamp(range(self.count))[:, 0]
        except Exception as error:  # decord raises RuntimeError, AssertionError and its own errors
            raise DecodeError("decord cannot open it") from error
        # The container hides frames before time 0; with equal or missing times decord cannot order frames.
        if not self._keys or starts[0] < -1e-3 or not (np.diff(starts) > 0).all():
            raise DecodeError("doubtful timestamps")
        self._pyav = pyav
        self._near_end = starts[-min(_DECORD_MAX_SKIP, self.count)]

    def frames(self, wanted: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        """Yield the frames numbered `wanted` (rising), then check the last two.

        Two, because after a seek decord may return an earlier frame in place of the first missing one, but not in
        place of the next as well.

        Raises:
            DecodeError: decord failed, or made a frame up.
        """
        # A seek to a hidden key frame lands before it, and from there to the frame is a single skip. It passes the true
        # end by more than the longest safe skip only if the previous frame was that far away.
        longest = max(np.diff([0, *wanted, self.count - 1]))
        if longest > _DECORD_MAX_SKIP and not self._pyav.has_frame_at(self._near_end):
            raise DecodeError("shorter than decord expects")
        at = 0
        if wanted[0] > 0:
            self._frame(0, 0)  # decord reports a missing frame only after it has returned one
        for index in wanted:
            yield self._frame(index, at)
            at = index
        for index in range(max(0, self.count - 2), self.count):
            if index > at:
                self._frame(index, at)
                at = index

    def _frame(self, index: int, at: int) -> NDArray[np.uint8]:
        """Decode frame `index` from position `at`, in safe steps.

        Each step ends even where frames are missing.
        """
        start = max(at, self._keys[max(0, bisect_right(self._keys, index) - 1)])
        try:
            for step in range(start + _DECORD_MAX_SKIP, index, _DECORD_MAX_SKIP):
                self._reader[step]
            frame = self._reader[index]
        except Exception as error:  # as in __init__
            raise DecodeError("decord lost a frame") from error
        # Other code in this process may have set decord's bridge to torch.
        picture = frame.asnumpy() if hasattr(frame, "asnumpy") else np.asarray(frame)
        if picture.ndim != 3 or picture.shape[2] != 3:  # happens with frames of 2x2
            raise DecodeError("decord made up a frame's shape")
        return picture


def _has_index(path: str) -> bool:
    """Return whether this is MP4, QuickTime, Matroska, WebM or AVI.

    In other containers decord seeks to wrong places.
    """
    with open(path, "rb") as file:
        head = file.read(8)
    return head[4:] in _MP4_BOXES or head[:4] in (b"\x1aE\xdf\xa3", b"RIFF")


@cache
def _decord() -> ModuleType | None:
    try:
        import decord
    except (ImportError, OSError):  # no wheel for this platform, or a missing library
        return None
    decord.logging.set_level(decord.logging.QUIET)
    module: ModuleType = decord
    return module
