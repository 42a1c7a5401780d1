"""Choose the frames of a video that the model sees."""

from typing import Literal

from sfllava_plugin.video.errors import VideoError

Sampling = Literal["middles", "linspace", "second", "segments", "step"]


def sample_indices(total_frames: int, num_frames: int, sampling: Sampling = "middles", fps: float = 0.0) -> list[int]:
    """Choose source frames, spread evenly over a video.

    Args:
        total_frames: source frames of the video.
        num_frames: frames wanted.
        sampling: ``middles`` of min(total_frames, num_frames) equal parts, as in the released program of
            SlowFast-LLaVA (arXiv 2407.15841), with its rounding half to even. A very short video repeats frames:
            sample_indices(2, 50) is [0, 0]. ``linspace`` takes the first frame, the last and those between, as the
            LLaVA-NeXT programs do, always num_frames of them. ``second`` takes one frame a second, as LLaVA-Video
            does, unless these are more than num_frames or the rate is unknown: then it is ``linspace``. ``segments``
            takes one frame of each of num_frames equal parts, half a part after its rounded start, as PLLaVA's
            evaluation does. Like ``linspace``, it repeats frames of a short video. ``step`` takes the first frame of
            each of num_frames equal parts, whose length is rounded down, as IG-VLM does. A shorter video, which IG-VLM
            refuses, repeats its last frame.
        fps: source frames per second, 0.0 when unknown.

    Raises:
        VideoError: a number of frames is below 1.
    """
    if total_frames < 1 or num_frames < 1:
        raise VideoError(f"cannot take {num_frames} of {total_frames} frames; both must be 1 or more")
    if sampling == "middles":
        parts = min(total_frames, num_frames)
        length = (total_frames - 1) / parts
        return [(round(length * i) + round(length * (i + 1))) // 2 for i in range(parts)]
    if sampling == "segments":
        length = (total_frames - 1) / num_frames
        return [int(length / 2 + round(length * i)) for i in range(num_frames)]
    if sampling == "step":
        length = max(1, total_frames // num_frames)
        return [min(length * i, total_frames - 1) for i in range(num_frames)]
    if sampling == "second" and fps > 0:
        seconds = range(0, total_frames, max(1, round(fps)))
        if len(seconds) <= num_frames:
            return list(seconds)
    # numpy's arithmetic, whose rounding decides some indices.
    import numpy as np

    return [int(index) for index in np.linspace(0, total_frames - 1, num_frames)]
