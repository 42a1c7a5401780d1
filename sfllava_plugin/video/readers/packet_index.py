"""Find what must be decoded to see a frame: an index of a video's packets, made without decoding.

Frames are shown in the order of their times and decoded in the order of their packets; a key frame needs none before
it. An index exists only where the packets' times leave no doubt about all that. Does not know any decoder.
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Packet:
    """What an index needs to know of a packet; `time` is when its frame is shown."""

    time: int
    is_key: bool
    is_shown: bool


@dataclass(frozen=True)
class Passage:
    """A run of packets that is decoded on its own.

    Attributes:
        first, last: numbers of its packets, counted from the start of the file; the first is a key frame.
        start: number of the frame that is shown first.
        wanted: numbers of the frames that are looked for in it, rising.
        holding: numbers of the packets that hold these.
    """

    first: int
    last: int
    start: int
    wanted: tuple[int, ...]
    holding: tuple[int, ...]

    def followed_by(self, other: "Passage") -> "Passage":
        """This and another that begins in it, or right behind it."""
        wanted, holding = (*self.wanted, *other.wanted), (*self.holding, *other.holding)
        return Passage(self.first, other.last, self.start, wanted, holding)


class PacketIndex:
    """The packets of a video whose times are sound.

    Args:
        packets: all of them, in the order of the file.

    Attributes:
        times: when each frame is shown, rising.

    Raises:
        ValueError: the packets' times leave doubt about the order of the frames, or about what a frame needs.
    """

    def __init__(self, packets: Iterable[Packet]):
        times, kinds = array("q"), bytearray()
        for packet in packets:
            times.append(packet.time)
            kinds.append(packet.is_key | packet.is_shown << 1)
        in_file, kinds = np.array(times, np.int64), np.frombuffer(kinds, np.uint8)
        shown, keys = np.flatnonzero(kinds & 2), np.flatnonzero(kinds & 1)
        # A decoder does not tell whether a frame that is not shown was a key frame; the first packet has to be one.
        keys = keys[(kinds[keys] & 2 > 0) | (keys == 0)]
        packet_of = shown[np.argsort(in_file[shown], kind="stable")]
        self.times = in_file[packet_of]
        if not len(shown) or not len(keys) or keys[0] != 0:
            raise ValueError("it does not begin with a key frame")
        if not (np.diff(self.times) > 0).all() or not (np.diff(in_file[keys]) > 0).all():
            raise ValueError("times repeat, or key frames are out of order")
        key_of = np.searchsorted(in_file[keys], self.times, side="right") - 1
        if key_of[0] < 0 or (keys[key_of] > packet_of).any():
            raise ValueError("a frame comes before the key frame that it follows")
        self._packet_of, self._key_of = packet_of, keys[key_of]
        # What is shown before a frame is decoded with it, as a decoder gives frames in the order of their times.
        self._last_needed = np.maximum.accumulate(packet_of)
        self._start = dict(zip(keys.tolist(), np.searchsorted(self.times, in_file[keys]).tolist(), strict=True))

    def __len__(self) -> int:
        """Frames of the video."""
        return len(self.times)

    def number_at(self, time: int | None) -> int | None:
        """The number of the frame that is shown at a time; None if there is none."""
        number = len(self) if time is None else int(np.searchsorted(self.times, time))
        return number if number < len(self) and self.times[number] == time else None

    def passages(self, wanted: Sequence[int]) -> list[Passage]:
        """What to decode for the frames numbered `wanted` (rising): passages that neither overlap nor touch."""
        found: list[Passage] = []
        for frame in wanted:
            first = int(self._key_of[frame])
            one = (frame,), (int(self._packet_of[frame]),)
            passage = Passage(first, int(self._last_needed[frame]), self._start[first], *one)
            touches = found and first <= found[-1].last + 1
            found.append(found.pop().followed_by(passage) if touches else passage)
        return found
