"""The interface of the two readers of video files.

The libraries behind them report wrong frame counts, loop for ever, and open other files named in text. The readers
guard against what is known; but a malformed video can still hang native code or kill the process, so isolation/ runs
them in another one.
"""

import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Reader(Protocol):
    """Reads frames of one video file by number.

    Attributes:
        name: the decoder, "decord" or "pyav".
        count: source frames, as far as known.
        fps: source frames per second, 0.0 when unknown.
    """

    name: str
    count: int
    fps: float

    def frames(self, wanted: list[int]) -> Iterator[NDArray[np.uint8]]:
        """Decode the frames numbered `wanted` (rising): RGB, uint8 [H, W, 3].

        Raises:
            DecodeError: this reader cannot deliver them; another one may.
            Miscount: `count` or another assumption was wrong. Sample again with the new `count`.
        """


def sane_fps(fps: float) -> float:
    """Return the frame rate, or 0.0 if it makes no sense."""
    return float(fps) if math.isfinite(fps) and fps > 0 else 0.0
