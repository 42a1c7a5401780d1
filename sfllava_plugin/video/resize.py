"""Make frames square: squash them as SlowFast-LLaVA does, or crop or pad them as other checkpoints need."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sfllava_plugin.video.errors import VideoError
from sfllava_plugin.video.fit import SQUASH, Fit

# Decoded frames queued for resizing: bounds the memory that 4K video takes.
_BYTES_QUEUED = 64 * 2**20
_RESIZE_THREADS = min(4, os.cpu_count() or 1)
#: The longer side of a frame that PLLaVA has shrunk, unless the shorter side would be too short.
_SHRUNK = 640
#: Pixels of a picture on its way to a square: 8K video, padded. A line of a few thousand pixels would take gigabytes.
_PIXELS_BETWEEN = 8192 * 8192

Frame: TypeAlias = Image.Image | NDArray[np.uint8]
FrameOrOpener: TypeAlias = Frame | Callable[[], Image.Image]


def resize_frames(frames: NDArray[np.uint8] | Sequence[Frame], image_size: int, fit: Fit = SQUASH) -> NDArray[np.uint8]:
    """Make frames RGB squares.

    Args:
        frames: uint8 [T, H, W, 3], or a sequence of PIL images and uint8 arrays [H, W, 3], [H, W, 4] (alpha is
            dropped) or [H, W], of any size. They are converted to RGB before the resize.
        image_size: S, the side of the frames in pixels.
        fit: how other shapes become squares.

    Returns:
        uint8 [T, S, S, 3]. Frames that are S x S already are unchanged, and an array of this kind is not copied. With
        the fit ``native``, uint8 [T, H, W, 3] of the first frame's size; the others are squashed to it.

    Raises:
        VideoError: there is no frame, one is not a uint8 image, or S is below 1.
    """
    if _is_resized(frames, None if fit.kind == "native" else image_size):
        return frames
    for frame in frames:
        if isinstance(frame, Image.Image):
            frame.load()  # now: two threads must not load the same image
    return resize_all(frames, len(frames), image_size, "the frames", fit)


def resize_all(
    frames: Iterable[FrameOrOpener], count: int, image_size: int, name: str, fit: Fit = SQUASH
) -> NDArray[np.uint8]:
    """Resize frames in threads while the next ones are read.

    PIL releases the GIL.

    Args:
        frames: `count` frames, or functions that open one and are called in the threads.
        name: the name used in error messages.
        fit: how other shapes become squares.

    Raises:
        VideoError: as `resize_frames`. Errors of the functions pass through.
    """
    if count < 1 or image_size < 1:
        raise VideoError(f"{name}: cannot make {count} frames of {image_size} pixels; give 1 or more")
    if fit.kind == "native":
        return _as_they_are(frames, count)
    resized = np.empty((count, image_size, image_size, 3), np.uint8)
    queued: deque[tuple[Future[None], int]] = deque()
    held = 0
    with ThreadPoolExecutor(_RESIZE_THREADS) as pool:
        for position, frame in enumerate(frames):
            size = getattr(frame, "nbytes", 0)
            queued.append((pool.submit(_resize_into, resized[position], frame, fit), size))
            held += size
            while held > _BYTES_QUEUED:
                oldest, size = queued.popleft()
                oldest.result()
                held -= size
        for future, _ in queued:
            future.result()
    return resized


def _as_they_are(frames: Iterable[FrameOrOpener], count: int) -> NDArray[np.uint8]:
    """Stack frames at the first one's size: uint8 [count, H, W, 3]."""
    pictures = (frame() if callable(frame) else to_rgb(frame) for frame in frames)
    first = next(pictures)
    stacked = np.empty((count, first.height, first.width, 3), np.uint8)
    for slot, picture in zip(stacked, chain([first], pictures), strict=True):
        alike = picture if picture.size == first.size else picture.resize(first.size, Image.Resampling.BICUBIC)
        slot[...] = np.asarray(alike)
    return stacked


def _is_resized(frames: object, image_size: int | None) -> TypeGuard[NDArray[np.uint8]]:
    """Return whether torch can take the array without resize or copy; without a size, any will do."""
    return (
        isinstance(frames, np.ndarray)
        and frames.dtype == np.uint8
        and frames.ndim == 4
        and frames.size > 0
        and frames.shape[3] == 3
        and (image_size is None or frames.shape[1:3] == (image_size, image_size))
        and frames.flags.c_contiguous
        and frames.flags.writeable
    )


def _resize_into(slot: NDArray[np.uint8], frame: FrameOrOpener, fit: Fit) -> None:
    image = frame() if callable(frame) else to_rgb(frame)
    side = slot.shape[0]
    if image.size != (side, side):
        image = _FITS[fit.kind](image, side, fit)
    slot[...] = np.asarray(image)


def _squash(image: Image.Image, side: int, fit: Fit) -> Image.Image:
    return image.resize((side, side), Image.Resampling.BICUBIC)


def _crop(image: Image.Image, side: int, fit: Fit) -> Image.Image:
    """Resize the shorter side and cut out the centre; roundings as in transformers' image_transforms.py."""
    shorter = min(image.size)
    width, height = (side if length == shorter else int(side * length / shorter) for length in image.size)
    _check_between(image, width * height, fit)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - side) // 2, (height - side) // 2
    return resized.crop((left, top, left + side, top + side))


def _shrink_crop(image: Image.Image, side: int, fit: Fit) -> Image.Image:
    """Shrink the longer side to 640 pixels, but the shorter one to no less than ``side``; then crop.

    The arithmetic is that of PLLaVA's processing_pllava.py (`resize_crop_longshort`), whose two roundings cut the last
    line off some frames.
    """
    shorter, longer = sorted(image.size)
    ratio = longer / shorter
    short = max(side, min(shorter, int(min(_SHRUNK, longer) / ratio)))
    size = short, int(short * longer / shorter)
    kept = short, int(short * ratio)
    if image.height <= image.width:
        size, kept = size[::-1], kept[::-1]
    _check_between(image, size[0] * size[1], fit)
    shrunk = image.resize(size, Image.Resampling.BICUBIC)
    return _crop(shrunk.crop((0, 0, *kept)), side, fit)


def _pad(image: Image.Image, side: int, fit: Fit) -> Image.Image:
    """Put the image in the centre of a square, and squash that."""
    longer = max(image.size)
    _check_between(image, longer * longer, fit)
    square = Image.new("RGB", (longer, longer), fit.fill)
    square.paste(image, ((longer - image.width) // 2, (longer - image.height) // 2))
    return _squash(square, side, fit)


def _check_between(image: Image.Image, pixels: int, fit: Fit) -> None:
    if pixels > _PIXELS_BETWEEN:
        size = f"{image.width}x{image.height}"
        raise VideoError(f"a picture of {size} pixels is too narrow for fit {fit.kind!r}; give a wider part of it")


_FITS = {"squash": _squash, "crop": _crop, "pad": _pad, "shrink_crop": _shrink_crop}


def to_rgb(frame: Frame) -> Image.Image:
    """Return a frame as an RGB picture.

    Raises:
        VideoError: it is not a uint8 image.
    """
    if not isinstance(frame, Image.Image):
        frame = np.asarray(frame)
        is_image = frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] in (3, 4))
        if frame.dtype != np.uint8 or not is_image or frame.size == 0:
            raise VideoError(f"a frame is {frame.dtype} {list(frame.shape)}; give uint8 [height, width, 3]")
        frame = Image.fromarray(frame)
    return frame if frame.mode == "RGB" else frame.convert("RGB")
