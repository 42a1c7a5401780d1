"""LLaVA-Video's sentence about time, which follows the video in the prompt."""

from collections.abc import Sequence

from tests.reference_family.frames import second_step


def duration(total: int, fps: float) -> float:
    """Length of the video in seconds."""
    return total / fps


def times(indices: Sequence[int], fps: float, *, uniform: bool) -> list[float]:
    """Times of the frames read, in seconds.

    `uniform`: read by linspace. Otherwise one a second, where the program divides by the rounded rate.
    """
    rate = fps if uniform else second_step(fps)
    return [index / rate for index in indices]


def text(seconds: float, at: Sequence[float], count: int) -> str:
    """The trained sentence, with no space after commas and full stop."""
    located = ",".join(f"{time:.2f}s" for time in at)
    return (
        f"The video lasts for {seconds:.2f} seconds, and {count} frames are uniformly sampled from it. "
        f"These frames are located at {located}.Please answer the following questions related to this video."
    )


def for_video(total: int, fps: float, indices: Sequence[int], *, uniform: bool) -> str:
    """The sentence for frames read from a video of `total` frames."""
    return text(duration(total, fps), times(indices, fps, uniform=uniform), len(indices))
