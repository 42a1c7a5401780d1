"""Decode only those segments of a video that hold wanted frames.

That is fast in long videos. Packets between the segments are read but not decoded: a seek would be little faster, and
relies on the container's index, which may be wrong or missing.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import av

from sfllava_plugin.video.readers.mp4_boxes import has_constant_settings
from sfllava_plugin.video.readers.packet_index import Packet, PacketIndex, Segment
from sfllava_plugin.video.readers.pyav_file import packets

# Codecs whose decoders can start at any key frame, and report whether a frame is one.
_CODECS = {"h264", "hevc", "av1", "vp8", "vp9", "mpeg4", "mpeg2video", "mjpeg"}

# Containers in which no packet changes the settings for later ones, except MP4 with several sample descriptions.
_MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
_CONTAINERS = {_MP4, "matroska,webm", "avi", "mpegts"}

# Segments with a larger share of the packets save too little: decoding the whole video is always right.
_LARGEST_SHARE = 0.5


class IndexMismatch(Exception):
    """The decoded frames do not match the index."""


def index_packets(stream: av.VideoStream) -> PacketIndex | None:
    """Index the packets of a newly opened stream.

    None where they do not number the frames.
    """
    container = stream.container
    if stream.codec_context.codec.canonical_name not in _CODECS or container.format.name not in _CONTAINERS:
        return None
    if container.format.name == _MP4 and not has_constant_settings(container.name):
        return None
    try:
        return PacketIndex(_index_entries(packets(stream)))
    except ValueError:
        return None


def _index_entries(demuxed: Iterable[av.Packet | None]) -> Iterator[Packet]:
    for packet in demuxed:
        if packet is None:
            raise ValueError("the file is cut or broken")
        if not packet.size and packet.dts is None:  # marks the end
            return
        if not packet.size or packet.pts is None or packet.is_corrupt:
            raise ValueError("a packet without content or time")
        yield Packet(packet.pts, packet.is_keyframe, not packet.is_discard)


def plan(index: PacketIndex, wanted: Sequence[int]) -> list[Segment] | None:
    """Return the segments to decode, or None if they save too little.

    They hold the frames numbered `wanted`, the first and the last.
    """
    segments = index.segments(sorted({0, *wanted, len(index) - 1}))
    packets_decoded = sum(segment.last + 1 - segment.first for segment in segments)
    return segments if packets_decoded <= _LARGEST_SHARE * len(index) else None


def decode(
    stream: av.VideoStream, index: PacketIndex, segments: Iterable[Segment]
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Yield the wanted frames and their numbers from a newly opened stream.

    Raises:
        IndexMismatch: a frame is missing, broken, or not the expected one.
    """
    # A decoder that conceals errors fills the gaps with what it decoded before, which depends on the segments.
    stream.codec_context.options = {"err_detect": "explode"}
    demuxed, position = packets(stream), 0
    for segment in segments:
        run = islice(demuxed, segment.first - position, segment.last + 1 - position)
        position = segment.last + 1
        yield from _check(_decode_alone(stream, run, segment), index, segment, gaps=_can_skip(stream))
        deque(run, maxlen=0)  # skip what was not needed


def _check(
    frames: Iterable[av.VideoFrame], index: PacketIndex, segment: Segment, gaps: bool
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Yield the wanted frames of a segment.

    Other frames may be missing only with `gaps`, and never the first.
    """
    left, due = deque(segment.wanted), segment.start
    for frame in frames:
        number = index.number_at(frame.pts)
        if number is not None and number < segment.start:
            continue  # it depends on packets before the segment
        at_start = due == segment.start
        if number is None or frame.is_corrupt or not due <= number <= (left[0] if gaps and not at_start else due):
            raise IndexMismatch
        # At the start of the file there are no earlier packets that a frame could depend on.
        if at_start and segment.first > 0 and not frame.key_frame:
            raise IndexMismatch
        due = number + 1
        if number == left[0]:
            yield left.popleft(), frame
        if not left:
            return
    raise IndexMismatch


def _decode_alone(stream: av.VideoStream, run: Iterable[av.Packet | None], segment: Segment) -> Iterator[av.VideoFrame]:
    """Decode a segment, skipping frames that are neither wanted nor referred to."""
    decoder = stream.codec_context
    decoder.flush_buffers()
    needed = {segment.first, *segment.holding}
    try:
        for position, packet in enumerate(run, segment.first):
            if _can_skip(stream):
                decoder.skip_frame = "DEFAULT" if position in needed else "NONREF"
            yield from stream.decode(packet)
        yield from stream.decode(None)
    except av.FFmpegError as error:
        raise IndexMismatch from error


def _can_skip(stream: av.VideoStream) -> bool:
    """Return whether the decoder can skip frames that no other needs.

    HEVC packets mark these unreliably.
    """
    return stream.codec_context.codec.canonical_name == "h264"
