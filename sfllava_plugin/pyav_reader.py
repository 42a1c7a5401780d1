"""Frames by number out of one video file, with PyAV: where decord fails or may not be trusted.

PyAV and not OpenCV, which vLLM brings: OpenCV 5.0 makes garbage of interlaced video without a word, and reads no AV1.
On every healthy clip tried, PyAV's frames are decord's bit for bit. Does not know which frames are wanted or why.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import av
import numpy as np
from av.codec.context import ThreadType
from av.video.reformatter import ColorRange, Colorspace

from sfllava_plugin.decoders import DecodeError, Miscount, sane_fps

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
            self.fps = sane_fps(float(stream.average_rate or stream.guessed_rate or 0))
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
