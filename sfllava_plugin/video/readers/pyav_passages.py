"""Frames by number out of those passages of a video that hold them, with PyAV: fast in long videos, or in doubt.

Packets between the passages are read and not decoded. A seek would be little faster, and go where the container's index
says, which may be wrong or missing. Does not know which frames are wanted or why.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import av

from sfllava_plugin.video.readers.mp4_boxes import has_constant_settings
from sfllava_plugin.video.readers.packet_index import Packet, PacketIndex, Passage
from sfllava_plugin.video.readers.pyav_file import packets

# Codecs whose decoders start at any key frame, and tell of each frame whether it is one.
_CODECS = {"h264", "hevc", "av1", "vp8", "vp9", "mpeg4", "mpeg2video", "mjpeg"}

# Containers in which no packet brings settings for the packets behind it, but for MP4 with several descriptions.
_MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
_CONTAINERS = {_MP4, "matroska,webm", "avi", "mpegts"}

# Passages that hold more of the video than this save too little: decoding all of it leaves nothing to doubt.
_LARGEST_SHARE = 0.5


class DoubtError(Exception):
    """The frames are not what the index promises."""


def index_packets(stream: av.VideoStream) -> PacketIndex | None:
    """Read all packets of a stream that was just opened; None where frames cannot be numbered by them."""
    container = stream.container
    if stream.codec_context.codec.canonical_name not in _CODECS or container.format.name not in _CONTAINERS:
        return None
    if container.format.name == _MP4 and not has_constant_settings(container.name):
        return None
    try:
        return PacketIndex(_described(packets(stream)))
    except ValueError:
        return None


def _described(demuxed: Iterable[av.Packet | None]) -> Iterator[Packet]:
    for packet in demuxed:
        if packet is None:
            raise ValueError("the file is cut or broken")
        if not packet.size and packet.dts is None:  # the mark at the end
            return
        if not packet.size or packet.pts is None or packet.is_corrupt:
            raise ValueError("a packet without content or time")
        yield Packet(packet.pts, packet.is_keyframe, not packet.is_discard)


def plan(index: PacketIndex, wanted: Sequence[int]) -> list[Passage] | None:
    """The passages with the frames numbered `wanted`, the first and the last; None if they would save too little."""
    passages = index.passages(sorted({0, *wanted, len(index) - 1}))
    packets_decoded = sum(passage.last + 1 - passage.first for passage in passages)
    return passages if packets_decoded <= _LARGEST_SHARE * len(index) else None


def decode(
    stream: av.VideoStream, index: PacketIndex, passages: Iterable[Passage]
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Yield the frames wanted of the passages, with their numbers, from a stream that was just opened.

    Raises:
        DoubtError: a frame is missing, broken, or not the one that is due.
    """
    # What a decoder puts in place of what is broken depends on what it decoded before.
    stream.codec_context.options = {"err_detect": "explode"}
    demuxed, position = packets(stream), 0
    for passage in passages:
        run = islice(demuxed, passage.first - position, passage.last + 1 - position)
        position = passage.last + 1
        yield from _check(_decode_alone(stream, run, passage), index, passage, gaps=_can_skip(stream))
        deque(run, maxlen=0)  # what was not needed after all


def _check(
    frames: Iterable[av.VideoFrame], index: PacketIndex, passage: Passage, gaps: bool
) -> Iterator[tuple[int, av.VideoFrame]]:
    """The wanted ones of a passage's frames. Only with `gaps` may others be missing, but for the first."""
    left, due = deque(passage.wanted), passage.start
    for frame in frames:
        number = index.number_at(frame.pts)
        if number is not None and number < passage.start:
            continue  # it needs packets before the passage
        at_start = due == passage.start
        if number is None or frame.is_corrupt or not due <= number <= (left[0] if gaps and not at_start else due):
            raise DoubtError
        # Before the first packet there is nothing that a frame could need.
        if at_start and passage.first > 0 and not frame.key_frame:
            raise DoubtError
        due = number + 1
        if number == left[0]:
            yield left.popleft(), frame
        if not left:
            return
    raise DoubtError


def _decode_alone(stream: av.VideoStream, run: Iterable[av.Packet | None], passage: Passage) -> Iterator[av.VideoFrame]:
    """The frames of a passage's packets, without some that neither it nor another frame needs."""
    decoder = stream.codec_context
    decoder.flush_buffers()
    needed = {passage.first, *passage.holding}
    try:
        for position, packet in enumerate(run, passage.first):
            if _can_skip(stream):
                decoder.skip_frame = "DEFAULT" if position in needed else "NONREF"
            yield from stream.decode(packet)
        yield from stream.decode(None)
    except av.FFmpegError as error:
        raise DoubtError from error


def _can_skip(stream: av.VideoStream) -> bool:
    """Whether a packet tells its decoder that no other frame needs its own. What HEVC's tell is not the whole truth."""
    return stream.codec_context.codec.canonical_name == "h264"
