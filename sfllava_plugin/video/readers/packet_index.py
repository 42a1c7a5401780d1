"""Index a video's packets to find those that a frame needs.

Frames are shown in the order of their times and decoded in the order of their packets; a key frame needs no packet
before it. An index is built without decoding, and only where the packets' times leave no doubt about all this.
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Packet:
    """A packet; `time` is when its frame is shown."""

    time: int
    is_key: bool
    is_shown: bool


@dataclass(frozen=True)
class Segment:
    """A run of packets that can be decoded on its own.

    Attributes:
        first, last: packet numbers, counted from the start of the file; the first packet is a key frame.
        start: number of the first frame that it shows.
        wanted: numbers of the frames to take from it, rising.
        holding: numbers of the packets that hold these frames.
    """

    first: int
    last: int
    start: int
    wanted: tuple[int, ...]
    holding: tuple[int, ...]

    def joined_with(self, other: "Segment") -> "Segment":
        """Join this segment with an overlapping or adjacent later one."""
        wanted, holding = (*self.wanted, *other.wanted), (*self.holding, *other.holding)
        return Segment(self.first, other.last, self.start, wanted, holding)


class PacketIndex:
    """The packets of a video with consistent times.

    Args:
        packets: all packets, in the order of the file.

    Attributes:
        times: when each frame is shown, rising.

    Raises:
        ValueError: the times leave doubt about the order of the frames, or about the packets that a frame needs.
    """

    def __init__(self, packets: Iterable[Packet]):
        times, flags = array("q"), bytearray()
        for packet in packets:
            times.append(packet.time)
            flags.append(packet.is_key | packet.is_shown << 1)
        in_file, kinds = np.array(times, np.int64), np.frombuffer(flags, np.uint8)
        shown, keys = np.flatnonzero(kinds & 2), np.flatnonzero(kinds & 1)
        # A decoder does not report whether a frame that is not shown was a key frame; the first packet must be one.
        keys = keys[(kinds[keys] & 2 > 0) | (keys == 0)]
        packet_of = shown[np.argsort(in_file[shown], kind="stable")]
        self.times = in_file[packet_of]
        if not len(shown) or not len(keys) or keys[0] != 0:
            raise ValueError("it does not begin with a key frame")
        if not (np.diff(self.times) > 0).all() or not (np.diff(in_file[keys]) > 0).all():
            raise ValueError("times repeat, or key frames are out of order")
        key_of = np.searchsorted(in_file[keys], self.times, side="right") - 1
        if key_of[0] < 0 or (keys[key_of] > packet_of).any():
            raise ValueError("a frame precedes its key frame in the file")
        self._packet_of, self._key_of = packet_of, keys[key_of]
        # Frames shown earlier are decoded too, because a decoder returns frames in the order of their times.
        self._last_needed = np.maximum.accumulate(packet_of)
        self._start = dict(zip(keys.tolist(), np.searchsorted(self.times, in_file[keys]).tolist(), strict=True))

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.times)

    def number_at(self, time: int | None) -> int | None:
        """Return the number of the frame shown at this time, or None."""
        number = len(self) if time is None else int(np.searchsorted(self.times, time))
        return number if number < len(self) and self.times[number] == time else None

    def segments(self, wanted: Sequence[int]) -> list[Segment]:
        """Return what to decode for the frames numbered `wanted` (rising).

        No two segments overlap or touch.
        """
        found: list[Segment] = []
        for frame in wanted:
            first = int(self._key_of[frame])
            one = (frame,), (int(self._packet_of[frame]),)
            segment = Segment(first, int(self._last_needed[frame]), self._start[first], *one)
            touches = found and first <= found[-1].last + 1
            found.append(found.pop().joined_with(segment) if touches else segment)
        return found
