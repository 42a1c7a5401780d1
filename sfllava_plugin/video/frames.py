"""The result of reading a video."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Video:
    """The sampled frames of one video.

    Attributes:
        frames: uint8 [T, S, S, 3], RGB, C-contiguous; [T, H, W, 3] with the fit ``native``.
        indices: T source frame numbers, rising, with repeats.
        total_frames: source frames that can be decoded.
        fps: source frames per second, 0.0 when unknown.
        decoder: "decord", "pyav" or "images".
    """

    frames: NDArray[np.uint8]
    indices: tuple[int, ...]
    total_frames: int
    fps: float
    decoder: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames."""
        height, width = self.frames.shape[1:3]
        return height, width
