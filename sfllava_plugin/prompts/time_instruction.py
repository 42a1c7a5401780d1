"""LLaVA-Video's time instruction: the text after a video that says when its frames were taken.

It was trained in (arXiv 2410.02713); after a comma and the first full stop there is no space.
"""

import math
from collections.abc import Sequence


def longest_instruction(frames: int, seconds: float) -> str:
    """Write the longest instruction of any video up to ``seconds`` long."""
    # Counted by a rate that is rounded down, times are up to half as long again.
    last = math.ceil(1.5 * seconds)
    return f"\n{time_instruction(last, 1.0, [last] * frames)}\n"


def time_instruction(total_frames: int, fps: float, indices: Sequence[int], *, by_second: bool = False) -> str:
    """Write the instruction of one video; "" if its frames have no known times.

    Args:
        total_frames: source frames.
        fps: source frames per second, 0.0 when unknown.
        indices: source frames taken.
        by_second: whether they were sampled by ``second`` (video/sampling.py).
    """
    if fps <= 0 or not indices:
        return ""
    # One frame a second is taken by whole frames, and the program counts whole seconds then. A longer video has
    # `linspace` frames instead.
    step = max(1, round(fps))
    whole = by_second and list(indices) == list(range(0, total_frames, step))
    rate = step if whole else fps
    located = ",".join(f"{index / rate:.2f}s" for index in indices)
    return (
        f"The video lasts for {total_frames / fps:.2f} seconds, and {len(indices)} frames are uniformly sampled from "
        f"it. These frames are located at {located}.Please answer the following questions related to this video."
    )
