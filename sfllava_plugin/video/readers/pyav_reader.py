"""Read frames by number with PyAV, where decord cannot be used.

PyAV rather than OpenCV, which vLLM installs: OpenCV 5.0 silently turns interlaced video into garbage, and reads no AV1.
On every healthy clip tried, PyAV's frames equal decord's bit for bit.
"""

from collections import deque
from collections.abc import Iterator, Sequence

import av
import numpy as np
from av.codec.context import ThreadType
from numpy.typing import NDArray

from sfllava_plugin.video.errors import DecodeError, Miscount
from sfllava_plugin.video.readers import pyav_segments
from sfllava_plugin.video.readers.packet_index import PacketIndex, Segment
from sfllava_plugin.video.readers.pyav_colours import to_rgb
from sfllava_plugin.video.readers.pyav_file import codecs, container_of, open_video, packets
from sfllava_plugin.video.readers.reader import sane_fps

# Threads share the work on one frame, instead of decoding several frames at once.
_WITHIN_A_FRAME = ThreadType.SLICE


class _BrokenPacket(Exception):
    """A packet cannot be decoded."""


class PyAVReader:
    """Decodes segments of long videos, and the whole of others.

    Segments need consistent times. The frames are the same either way. Packets that cannot be decoded are skipped, as
    players do.

    Args:
        path: absolute path of a file.

    Attributes:
        codecs: codecs of all tracks, by FFmpeg's names.
        width, height: frame size in the header, in pixels.

    Raises:
        DecodeError: the file has no video.
    """

    name = "pyav"

    def __init__(self, path: str):
        self._path = path
        self._indexed = self._counted = False
        self._index: PacketIndex | None = None
        self._threads = ThreadType.AUTO
        with open_video(path, self._threads) as stream:
            self.codecs = codecs(stream)
            self.width, self.height = stream.codec_context.width, stream.codec_context.height
            self.fps = sane_fps(float(stream.average_rate or stream.guessed_rate or 0))
            # An unknown count is 0. Any claim will do, because frames() corrects it.
            self.count = max(1, stream.frames or round(self.fps * (container_of(stream).duration or 0) / av.time_base))
        if self.width < 1 or self.height < 1:
            raise DecodeError("no frame size")

    def has_frame_at(self, seconds: float) -> bool:
        """Return whether the video lasts that long.

        Costs a seek, and decoding from a key frame.
        """
        with open_video(self._path, self._threads) as stream:
            container_of(stream).seek(int(seconds * av.time_base))
            stream.thread_type = _WITHIN_A_FRAME
            return any(frame.time is not None and frame.time >= seconds - 1e-3 for frame in _decode(stream))

    def frames(self, wanted: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        """Yield the frames numbered `wanted` (rising), and check `count`.

        Raises:
            Miscount: `count` was wrong and has been corrected, or another way of decoding is needed; sample again.
            DecodeError: decoding the video twice gave different numbers of frames.
        """
        if not self._indexed:
            self._read_index()
        if (index := self._index) and (segments := pyav_segments.plan(index, wanted)):
            return self._decode_segments(wanted, index, segments)
        return self._decode_all(wanted)

    def _read_index(self) -> None:
        with open_video(self._path, self._threads) as stream:
            self._index, self._indexed = pyav_segments.index_packets(stream), True
        if self._index and len(self._index) != self.count:
            self.count = len(self._index)
            raise Miscount

    def _decode_segments(
        self, wanted: Sequence[int], index: PacketIndex, segments: list[Segment]
    ) -> Iterator[NDArray[np.uint8]]:
        wanted_numbers = set(wanted)
        try:
            with open_video(self._path, self._threads) as stream:
                for number, frame in pyav_segments.decode(stream, index, segments):
                    if number in wanted_numbers:
                        yield to_rgb(frame)
        except pyav_segments.IndexMismatch:
            self._index = None
            raise Miscount from None

    def _decode_all(self, wanted: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        """Decode the video from its first frame.

        Stops at the last wanted frame if the frames have been counted before, else at the end.
        """
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
            # With several frames at once, the number of frames lost around it depends on the number of threads.
            self._threads = _WITHIN_A_FRAME
            raise Miscount from None
        self._check_count(seen)

    def _check_count(self, actual: int) -> None:
        was_counted, self._counted = self._counted, True
        if actual == self.count:
            return
        if was_counted:
            raise DecodeError("decoding twice gave different frames")
        self.count = actual
        raise Miscount


def _decode(stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """Yield the frames from the current position on, without broken ones.

    Raises:
        _BrokenPacket: a packet is broken, and several frames are decoded at once.
    """
    for packet in packets(stream):
        try:
            frames = stream.decode(packet)
        except av.FFmpegError as error:
            if stream.thread_type != _WITHIN_A_FRAME:
                raise _BrokenPacket from error
            continue
        yield from frames
