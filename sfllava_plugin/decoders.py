"""Frames by number out of one video file: decord, or OpenCV where it fails.

Knows the decoders and their faults: frame counts that are wrong, loops that never end, text that
makes FFmpeg open other files. Does not know which frames are wanted or why, how they are resized,
folders of images, or anything about models.

Both readers have the same face: `name`, `count` (frames, as claimed), `fps`, and `frames(wanted)`,
a generator over RGB uint8 arrays [H, W, 3]. A reader that cannot deliver raises DecodeError; one
that finds its own count wrong corrects it and raises Miscount.
"""

import math
import os
import tempfile
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np

# 8192 x 4320, the largest frame that 8K video has. A frame of it is 106 MB.
MAX_PIXELS = 8192 * 4320

# What opens a playlist, or the ID3 tag of audio, behind which FFmpeg looks for a playlist too.
_NOT_A_VIDEO = (b"#EXTM3U", b"ffconcat", b"ID3")

# The boxes that an MP4 file begins with, behind their four bytes of length.
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")

# decord marks the end of a stream 128 times and counts the marks as frames when it skips: a skip
# that goes further past the true end than that never returns.
_DECORD_MAX_SKIP = 100

# decord takes memory for as many frames as the header claims, and without it kills the process.
_DECORD_MAX_FRAMES = 10_000_000


class VideoError(ValueError):
    """A video that cannot be read as asked. The message: one line, which video, what to do."""


class DecodeError(Exception):
    """This decoder cannot deliver the frames; another may."""


class Miscount(Exception):
    """Fewer or more frames decode than the reader claimed; its `count` is right from now on."""


def looks_like_video(head: bytes) -> bool:
    """Whether a file that begins with `head` may be a video: no text, no tag that may hide text.

    FFmpeg opens whatever a playlist names, files and network alike, so no text may reach it.
    """
    is_text = all(byte >= 32 or byte in b"\t\r\n" for byte in head)
    return not is_text and not head.startswith(_NOT_A_VIDEO)


@contextmanager
def as_file(data: bytes) -> Iterator[str]:
    """The path under which `data` can be opened for a while; on Linux it stays in memory.

    Both decoders can read bytes themselves, and both can kill the process doing it: decord when
    a video is cut short, OpenCV when it frees the stream without holding the GIL.
    """
    if hasattr(os, "memfd_create"):
        with open(os.memfd_create("video"), "wb") as file:
            file.write(data)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "video")
            Path(path).write_bytes(data)
            yield path


class OpenCVReader:
    """Reads a video from its first frame to its last: slow in a long video, exact in every one.

    Args:
        path: absolute path of a file.

    Raises:
        DecodeError: OpenCV finds no video in it.
    """

    name = "opencv"

    def __init__(self, path: str):
        cv2 = _opencv()
        self._path = path
        self._counted = False
        capture = self._open()
        self.width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        # Unknown counts are 0 or negative; any claim will do, since frames() puts it right.
        self.count = max(1, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self.fps = _sane_fps(capture.get(cv2.CAP_PROP_FPS))
        if self.width < 1 or self.height < 1:
            raise DecodeError("no frame size")

    def _open(self):
        cv2 = _opencv()
        try:
            capture = cv2.VideoCapture(self._path, cv2.CAP_FFMPEG)
        except (cv2.error, UnicodeError) as error:
            raise DecodeError("OpenCV cannot open it") from error
        if not capture.isOpened():
            raise DecodeError("OpenCV finds no video")
        return capture

    def has_frame_at(self, seconds: float) -> bool:
        """Whether the video lasts that long. Costs a seek, and decoding from a key frame."""
        capture = self._open()
        capture.set(_opencv().CAP_PROP_POS_MSEC, seconds * 1000)
        return capture.grab()

    def frames(self, wanted: Sequence[int]) -> Iterator[np.ndarray]:
        """Yields the frames numbered `wanted` (rising), then walks on to the end to check `count`.

        Raises:
            Miscount: `count` was wrong and is now right; choose the frames again.
            DecodeError: the second walk went otherwise than the first.
        """
        capture = self._open()
        position = 0
        for index in wanted:
            position += _grab(capture, index + 1 - position)
            if position <= index:
                break
            yield _retrieve(capture)
        else:
            if self._counted:
                return
            position += _grab(capture)
        self._settle(position)

    def _settle(self, actual: int) -> None:
        was_counted, self._counted = self._counted, True
        if actual == self.count:
            return
        if was_counted:
            raise DecodeError("the frames do not decode twice alike")
        self.count = actual
        raise Miscount


class DecordReader:
    """Reads a healthy video, seeking by key frame: fast in long ones. Any doubt is a DecodeError.

    decord 0.6.0 numbers frames by the packets in the file. Where packets are hidden (a trimmed
    mp4), missing or out of order it returns a wrong frame, repeats one, or loops for ever
    (github.com/dmlc/decord/issues/373); its limit DECORD_EOF_RETRY_MAX does not cover that loop.
    So only containers with an index are read, doubtful timestamps are refused, no skip is long
    enough to loop, and the video has to end where decord believes it ends.

    Args:
        path: absolute path of a file.
        opencv: another reader of the same file, to be asked how long it is.

    Raises:
        DecodeError: decord is not installed, cannot open it, or there is doubt.
    """

    name = "decord"

    def __init__(self, path: str, opencv: OpenCVReader):
        decord = _decord()
        if decord is None or not _has_index(path) or opencv.count > _DECORD_MAX_FRAMES:
            raise DecodeError("not for decord")
        try:
            # Any frame that decord had to make up is an error; 0 would mean no limit.
            self._reader = decord.VideoReader(path, fault_tol=1e-9)
            self.count = len(self._reader)
            self.fps = _sane_fps(self._reader.get_avg_fps())
            self._keys = sorted(self._reader.get_key_indices())
            starts = self._reader.get_frame_timestamp(range(self.count))[:, 0]
        except Exception as error:  # decord raises RuntimeError, AssertionError and its own
            raise DecodeError("decord cannot open it") from error
        # The container cuts away frames before 0; equal or absent times leave decord no order.
        if not self._keys or starts[0] < -1e-3 or not (np.diff(starts) > 0).all():
            raise DecodeError("doubtful timestamps")
        self._opencv = opencv
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
        if longest > _DECORD_MAX_SKIP and not self._opencv.has_frame_at(self._near_end):
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
        return frame.asnumpy() if hasattr(frame, "asnumpy") else np.asarray(frame)


def _has_index(path: str) -> bool:
    """Whether this is MP4, QuickTime, Matroska, WebM or AVI; else decord's seeks go astray."""
    with open(path, "rb") as file:
        head = file.read(8)
    return head[4:] in _MP4_BOXES or head[:4] in (b"\x1aE\xdf\xa3", b"RIFF")


@cache
def _opencv():
    # Damaged videos make FFmpeg talk on stderr. OpenCV reads this when it first opens a video.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


@cache
def _decord():
    try:
        import decord
    except (ImportError, OSError):  # no wheel for this platform, or a library it needs is missing
        return None
    decord.logging.set_level(decord.logging.QUIET)
    return decord


def _grab(capture, limit: float = math.inf) -> int:
    """Steps over at most `limit` frames; returns over how many."""
    grabbed = 0
    while grabbed < limit and capture.grab():
        grabbed += 1
    return grabbed


def _retrieve(capture) -> np.ndarray:
    cv2 = _opencv()
    found, frame = capture.retrieve()
    if not found:
        raise DecodeError("OpenCV lost a frame")
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def _sane_fps(fps: float) -> float:
    return float(fps) if math.isfinite(fps) and fps > 0 else 0.0
