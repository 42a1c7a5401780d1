"""Rules for sampling frames, and resizing to squares."""

import numpy as np
from PIL import Image

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)  # mean and standard deviation of SigLIP


def linspace(total: int, wanted: int) -> list[int]:
    """Indices of `wanted` frames from the first to the last.

    Frames repeat if there are fewer. In floating point, as in the program: the exact integer may come out one lower.
    """
    return [int(position) for position in np.linspace(0, total - 1, wanted)]


def second_step(fps: float) -> int:
    """Frames per step at one frame a second.

    The program fails below half a frame a second, where its step is 0; here every frame is read.
    """
    return max(1, round(fps))


def each_second(total: int, wanted: int, fps: float, *, force: bool = False) -> list[int]:
    """Indices at one frame a second.

    Beyond `wanted` frames, or if forced, `linspace`.
    """
    indices = list(range(0, total, second_step(fps)))
    return linspace(total, wanted) if force or len(indices) > wanted else indices


def pllava(total: int, wanted: int) -> list[int]:
    """Indices at PLLaVA's middles of equal segments."""
    segment = (total - 1) / wanted
    return [int(segment / 2 + np.round(segment * i)) for i in range(wanted)]  # numpy rounds half to even


def squash(picture: Image.Image, side: int) -> Image.Image:
    """Resize to a square, whatever the proportions."""
    return picture.resize((side, side), Image.Resampling.BICUBIC)


def crop(picture: Image.Image, side: int) -> Image.Image:
    """Resize the shorter edge to `side` and cut out the centre."""
    width, height = picture.size
    short, long = sorted(picture.size)
    longer = int(side * long / short)
    resized = (side, longer) if width <= height else (longer, side)
    picture = picture.resize(resized, Image.Resampling.BICUBIC)
    left, top = (resized[0] - side) // 2, (resized[1] - side) // 2
    return picture.crop((left, top, left + side, top + side))


def shrink_crop(picture: Image.Image, side: int) -> Image.Image:
    """Resize as PLLaVA, then crop.

    The longer edge becomes 640 at most, but the shorter one is never below `side`. Small frames keep their size.
    """
    short_edge, long_edge = min(picture.size), max(picture.size)
    allowed = int(min(640, long_edge) / (long_edge / short_edge))
    new_short = max(min(short_edge, allowed), side)
    new_long, kept = int(new_short * long_edge / short_edge), int(new_short * (long_edge / short_edge))
    if picture.height > picture.width:
        resized = picture.resize((new_short, new_long), Image.Resampling.BICUBIC)
        return crop(resized.crop((0, 0, new_short, kept)), side)
    resized = picture.resize((new_long, new_short), Image.Resampling.BICUBIC)
    return crop(resized.crop((0, 0, kept, new_short)), side)


def pad(picture: Image.Image, side: int, mean: tuple[float, ...]) -> Image.Image:
    """Centre on a square of the mean colour, then resize."""
    longest = max(picture.size)
    square = Image.new("RGB", (longest, longest), tuple(int(255 * value) for value in mean))
    square.paste(picture, ((longest - picture.width) // 2, (longest - picture.height) // 2))
    return squash(square, side)


def normalise(frames: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """Normalise uint8 [T, S, S, 3] to float32 [T, 3, S, S]."""
    values = (np.asarray(frames).astype(np.float64) / 255).astype(np.float32)
    return ((values - np.float32(mean)) / np.float32(std)).transpose(0, 3, 1, 2)
