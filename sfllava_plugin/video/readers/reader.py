"""What the two decoders of video files have in common.

They lie and fail: frame counts that are wrong, loops that never end, text that makes FFmpeg open other files. They are
native code, and can still hang or kill the process on a video made for it: isolation/ lets them work in another
process. They do not know which frames are wanted or why, how frames are resized, or anything about models.
"""

import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np


class Reader(Protocol):
    """Frames by number out of one video file.

    Attributes:
        name: the decoder, "decord" or "pyav".
        count: source frames, as claimed.
        fps: source frames per second, 0.0 when unknown.
    """

    name: str
    count: int
    fps: float

    def frames(self, wanted: list[int]) -> Iterator[np.ndarray]:
        """Decode the frames with these rising numbers: RGB uint8 [H, W, 3] each.

        Raises:
            DecodeError: this decoder cannot deliver them; another may.
            Miscount: `count` or another assumption was wrong. Choose the frames again by what the reader says now.
        """


def sane_fps(fps: float) -> float:
    """Frames per second as a header claims them; 0.0 where that is no speed."""
    return float(fps) if math.isfinite(fps) and fps > 0 else 0.0
