"""Frames by number out of one video file, with PyAV: where decord fails or may not be trusted.

PyAV and not OpenCV, which vLLM brings: OpenCV 5.0 makes garbage of interlaced video without a word, and reads no AV1.
On every healthy clip tried, PyAV's frames are decord's bit for bit. Does not know which frames are wanted or why.
"""

from collections import deque
from collections.abc import Iterator, Sequence

import av
import numpy as np
from av.codec.context import ThreadType

from sfllava_plugin.video.errors import DecodeError, Miscount
from sfllava_plugin.video.readers import pyav_passages
from sfllava_plugin.video.readers.packet_index import Passage
from sfllava_plugin.video.readers.pyav_colours import to_rgb
from sfllava_plugin.video.readers.pyav_file import codecs, open_video, packets
from sfllava_plugin.video.readers.reader import sane_fps

# Threads share the work on one frame, and the frames come one after the other.
_WITHIN_A_FRAME = ThreadType.SLICE


class _BrokenPacket(Exception):
    """A packet that cannot be decoded."""


class PyAVReader:
    """Reads what is needed of a long video with sound times, and all of any other: exact in every one.

    Packets that cannot be decoded are passed over, as players do.

    Args:
        path: absolute path of a file.

    Attributes:
        codecs: those of all tracks, by FFmpeg's names.

    Raises:
        DecodeError: there is no video in it.
    """

    name = "pyav"

    def __init__(self, path: str):
        self._path = path
        self._indexed = self._counted = False
        self._threads = ThreadType.AUTO
        with open_video(path, self._threads) as stream:
            self.codecs = codecs(stream)
            self.width, self.height = stream.codec_context.width, stream.codec_context.height
            self.fps = sane_fps(float(stream.average_rate or stream.guessed_rate or 0))
            # Unknown counts are 0; any claim will do, since frames() puts it right.
            self.count = max(1, stream.frames or round(self.fps * (stream.container.duration or 0) / av.time_base))
        if self.width < 1 or self.height < 1:
            raise DecodeError("no frame size")

    def has_frame_at(self, seconds: float) -> bool:
        """Whether the video lasts that long. Costs a seek, and decoding from a key frame."""
        with open_video(self._path, self._threads) as stream:
            stream.container.seek(int(seconds * av.time_base))
            stream.thread_type = _WITHIN_A_FRAME
            return any(frame.time is not None and frame.time >= seconds - 1e-3 for frame in _decode(stream))

    def frames(self, wanted: Sequence[int]) -> Iterator[np.ndarray]:
        """Yields the frames numbered `wanted` (rising), and checks `count`.

        Raises:
            Miscount: `count` was wrong and is now right, or frames were lost that can be had; choose them again.
            DecodeError: the second walk went otherwise than the first.
        """
        if not self._indexed:
            self._read_index()
        passages = pyav_passages.plan(self._index, wanted) if self._index else None
        return self._pick(wanted, passages) if passages else self._walk(wanted)

    def _read_index(self) -> None:
        with open_video(self._path, self._threads) as stream:
            self._index, self._indexed = pyav_passages.index_packets(stream), True
        if self._index and len(self._index) != self.count:
            self.count = len(self._index)
            raise Miscount

    def _pick(self, wanted: Sequence[int], passages: list[Passage]) -> Iterator[np.ndarray]:
        """Decode some passages of the video."""
        asked = set(wanted)
        try:
            with open_video(self._path, self._threads) as stream:
                for number, frame in pyav_passages.decode(stream, self._index, passages):
                    if number in asked:
                        yield to_rgb(frame)
        except pyav_passages.DoubtError:
            self._index = None
            raise Miscount from None

    def _walk(self, wanted: Sequence[int]) -> Iterator[np.ndarray]:
        """Decode the video from its first frame to its last, or once the frames are counted to the last wanted."""
        left, seen = deque(wanted), 0
        try:
            with open_video(self._path, self._threads) as stream:
                for frame in _decode(stream):
                    if left and seen == left[0]:
                        left.popleft()
                        yield to_rgb(frame)
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


def _decode(stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """The frames from where the file stands, without those that are broken.

    Raises:
        _BrokenPacket: there is one, and frames are decoded side by side.
    """
    for packet in packets(stream):
        try:
            frames = stream.decode(packet)
        except av.FFmpegError as error:
            if stream.thread_type != _WITHIN_A_FRAME:
                raise _BrokenPacket from error
            continue
        yield from frames
