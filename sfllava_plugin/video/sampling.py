"""Choose the frames of a video that the model sees."""

from sfllava_plugin.video.errors import VideoError


def sample_indices(total_frames: int, num_frames: int) -> list[int]:
    """Return the middles of min(total_frames, num_frames) equal parts of a video.

    The arithmetic, including rounding half to even, is that of the program released with SlowFast-LLaVA (arXiv
    2407.15841). Very short videos repeat frames: sample_indices(2, 50) is [0, 0].

    Raises:
        VideoError: either number is below 1.
    """
    if total_frames < 1 or num_frames < 1:
        raise VideoError(f"cannot take {num_frames} of {total_frames} frames; both must be 1 or more")
    parts = min(total_frames, num_frames)
    length = (total_frames - 1) / parts
    return [(round(length * i) + round(length * (i + 1))) // 2 for i in range(parts)]
