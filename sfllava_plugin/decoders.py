"""Frames by number out of one video file: decord, or PyAV where it fails.

Knows the decoders and their faults: frame counts that are wrong, loops that never end, text that
makes FFmpeg open other files. They are native code, and can still hang or kill the process on a video
made for it: decoding.py lets them work in another process. Does not know which frames are wanted or
why, how they are resized, folders of images, or anything about models.

PyAV and not OpenCV, which vLLM brings: OpenCV 5.0 makes garbage of interlaced video without a word, and
reads no AV1. On every healthy clip tried, PyAV's frames are decord's bit for bit.

Both readers have the same face: `name`, `count` (frames, as claimed), `fps`, and `frames(wanted)`,
a generator over RGB uint8 arrays [H, W, 3]. A reader that cannot deliver raises DecodeError; one
that finds its own count wrong corrects it and raises Miscount.
"""

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import av
import numpy as np
from av.codec.context import ThreadType
from av.video.reformatter import ColorRange, Colorspace

# Damaged videos make FFmpeg talk on stderr.
av.logging.set_level(None)

# The containers that are read, by FFmpeg's names: none that names other files, or the network.
_CONTAINERS = {
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,gif,ogg,rm,mxf,dv,nut,"
    "ivf,obu,h264,hevc,m4v,h263,vc1,yuv4mpegpipe,wtv,gxf,jpeg_pipe,png_pipe,webp_pipe,apng"
}

# Threads share the work on one frame, and the frames come one after the other.
_WITHIN_A_FRAME = ThreadType.SLICE

# What a frame says whose colours nobody described, and the matrix of RGB, in FFmpeg's numbers (AVCOL_SPC).
_UNSPECIFIED, _RGB = 2, 0

# Formats whose values go from 0 to 255 whatever the video says, as FFmpeg takes them: JPEG's, and gray ones.
_FULL_RANGE = ("yuvj", "gray", "ya")

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


class _BrokenPacket(Exception):
    """A packet that cannot be decoded."""


class PyAVReader:
    """Reads a video from its first frame to its last: slow in a long video, exact in every one.

    Packets that cannot be decoded are passed over, as players do.

    Args:
        path: absolute path of a file.

    Raises:
        DecodeError: there is no video in it.
    """

    name = "pyav"

    def __init__(self, path: str):
        self._path = path
        self._counted = False
        self._threads = ThreadType.AUTO
        with self._open() as stream:
            self.width, self.height = stream.codec_context.width, stream.codec_context.height
            self.fps = _sane_fps(float(stream.average_rate or stream.guessed_rate or 0))
            # Unknown counts are 0; any claim will do, since frames() puts it right.
            self.count = max(1, stream.frames or round(self.fps * (stream.container.duration or 0) / av.time_base))
        if self.width < 1 or self.height < 1:
            raise DecodeError("no frame size")

    @contextmanager
    def _open(self) -> Iterator[av.VideoStream]:
        """Its first video stream; what goes wrong while it is open is a DecodeError."""
        try:
            # As options of its streams, too, they would crash PyAV 15 where streams are found late.
            with av.open(self._path, container_options=_CONTAINERS, metadata_errors="ignore") as container:
                if not container.streams.video:
                    raise DecodeError("no video in it")
                stream = container.streams.video[0]
                if stream.codec_context is None:
                    raise DecodeError("a codec that nobody knows")
                stream.thread_type = self._threads
                yield stream
        except (av.FFmpegError, OSError, ValueError) as error:
            raise DecodeError("PyAV cannot read it") from error

    def has_frame_at(self, seconds: float) -> bool:
        """Whether the video lasts that long. Costs a seek, and decoding from a key frame."""
        with self._open() as stream:
            stream.container.seek(int(seconds * av.time_base))
            stream.thread_type = _WITHIN_A_FRAME
            return any(frame.time is not None and frame.time >= seconds - 1e-3 for frame in _decode(stream))

    def frames(self, wanted: Sequence[int]) -> Iterator[np.ndarray]:
        """Yields the frames numbered `wanted` (rising), then walks on to the end to check `count`.

        Raises:
            Miscount: `count` was wrong and is now right, or frames were lost that can be had; choose them again.
            DecodeError: the second walk went otherwise than the first.
        """
        left, seen = deque(wanted), 0
        try:
            with self._open() as stream:
                for frame in _decode(stream):
                    if left and seen == left[0]:
                        left.popleft()
                        yield _to_rgb(frame)
                    seen += 1
                    if self._counted and not left:
                        return
        except _BrokenPacket:
            # How many frames are lost around it depends on the number of threads, but for those within a frame.
            self._threads = _WITHIN_A_FRAME
            raise Miscount from None
        self._settle(seen)

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
        pyav: another reader of the same file, to be asked how long it is.

    Raises:
        DecodeError: decord is not installed, cannot open it, or there is doubt.
    """

    name = "decord"

    def __init__(self, path: str, pyav: PyAVReader):
        decord = _decord()
        if decord is None or not _has_index(path) or pyav.count > _DECORD_MAX_FRAMES:
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


def _decode(stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """The frames from where the file stands, without those that are broken.

    Raises:
        _BrokenPacket: there is one, and frames are decoded side by side.
    """
    for packet in _packets(stream):
        try:
            frames = stream.decode(packet)
        except av.FFmpegError as error:
            if stream.thread_type != _WITHIN_A_FRAME:
                raise _BrokenPacket from error
            continue
        yield from frames


def _packets(stream: av.VideoStream) -> Iterator[av.Packet | None]:
    """The packets, and None at the end, at which the decoder gives what it still holds."""
    packets = stream.container.demux(stream)
    while True:
        try:
            yield next(packets)
        except StopIteration:
            return
        except av.FFmpegError:  # as good as the end
            yield None
            return


def _to_rgb(frame: av.VideoFrame) -> np.ndarray:
    """A frame as it is meant to be seen: the right way up, with the colours that the video's own matrix gives.

    PyAV by itself takes every matrix for that of standard definition; decord does not.
    """
    if frame.format.is_rgb or "pal8" in frame.format.name:
        picture = frame.to_ndarray(format="rgb24")
    else:
        full_range = frame.format.name.startswith(_FULL_RANGE) or frame.color_range == ColorRange.JPEG
        picture = frame.reformat(
            format="rgb24",
            src_colorspace=Colorspace.ITU601 if frame.colorspace == _UNSPECIFIED else frame.colorspace,
            # There is none in RGB; one that is not the source's makes PyAV look at the source's.
            dst_colorspace=_RGB,
            src_color_range=ColorRange.JPEG if full_range else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
        ).to_ndarray()
    return np.ascontiguousarray(np.rot90(picture, frame.rotation // 90)) if frame.rotation else picture


def _sane_fps(fps: float) -> float:
    return float(fps) if math.isfinite(fps) and fps > 0 else 0.0
