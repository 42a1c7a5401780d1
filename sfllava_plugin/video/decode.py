"""Decode a video file or a folder of images in this process.

Frames are sampled evenly over the whole video and resized to squares, as in the evaluation of SlowFast-LLaVA (arXiv
2407.15841). readers/ decodes and resize.py resizes; fetching, normalisation and the choice of slow and fast frames are
done elsewhere.

A malformed file may kill this process or take it over: isolated.py is for untrusted videos.
"""

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sfllava_plugin.limits import DEFAULTS, Limits
from sfllava_plugin.video.errors import DecodeError, Miscount, VideoError, printable
from sfllava_plugin.video.filetype import looks_like_video
from sfllava_plugin.video.fit import SQUASH, Fit
from sfllava_plugin.video.frames import Video
from sfllava_plugin.video.readers.decord_reader import DecordReader
from sfllava_plugin.video.readers.pyav_reader import PyAVReader
from sfllava_plugin.video.readers.reader import Reader
from sfllava_plugin.video.resize import FrameOrOpener, resize_all
from sfllava_plugin.video.sampling import Sampling, sample_indices

# Bytes read to recognise the file type.
_HEAD_BYTES = 1024

_IMAGE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
#: A GIF counts as a video.
_PICTURE_SUFFIXES = _IMAGE_SUFFIXES - {".gif"}
# An allow-list: PIL goes by content, and runs other programs for some formats (EPS).
_IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


@dataclass(frozen=True)
class _Wanted:
    """The frames asked for, and the name of the video in error messages."""

    num_frames: int
    image_size: int
    sampling: Sampling
    fit: Fit
    name: str

    def indices(self, total_frames: int, fps: float) -> list[int]:
        return sample_indices(total_frames, self.num_frames, self.sampling, fps)


def decode(
    source: str | os.PathLike[str],
    *,
    num_frames: int,
    image_size: int,
    sampling: Sampling = "middles",
    fit: Fit = SQUASH,
    limits: Limits = DEFAULTS,
    name: str | None = None,
) -> Video:
    """Sample, decode and resize one video.

    Frame counts in headers are not trusted: indices refer to the frames that really decode.

    Args:
        source: path of a video file, or of a folder of images. These are sorted by name, one frame each; other files
            are skipped.
        num_frames: frames wanted, 1 to `limits.frames`. A shorter video may yield fewer.
        image_size: S, the side of the frames in pixels.
        sampling: the choice of frames (sampling.py).
        fit: how frames become squares (resize.py).
        limits: checked before anything is decoded.
        name: the name used in error messages; by default the path.

    Returns:
        Frames of uint8 [T, S, S, 3] and where they come from.

    Raises:
        VideoError: the video cannot be read or exceeds a limit, or a number is out of range.
    """
    path = os.fsdecode(source)
    name = name or printable(path)
    if not 1 <= num_frames <= limits.frames:
        raise VideoError(f"{name}: {num_frames} frames wanted; ask for 1 to {limits.frames}")
    wanted = _Wanted(num_frames, image_size, sampling, fit, name)
    if os.path.isdir(path):
        return _read_folder(path, wanted, limits)
    _check_file(path, name, limits)
    # Absolute, so that FFmpeg takes no file name for a URL.
    return _read_file(os.path.abspath(path), wanted, limits)


def _check_file(path: str, name: str, limits: Limits) -> None:
    """Refuse files that no decoder needs to see."""
    status, head = _stat_and_head(path, name)
    if not stat.S_ISREG(status.st_mode):
        raise VideoError(f"{name} is neither a file nor a folder; give a video file")
    if status.st_size > limits.file_bytes:
        limit = f"the limit is {limits.file_bytes}"
        raise VideoError(f"{name} has {status.st_size} bytes, {limit}; give a smaller version")
    if not head:
        raise VideoError(f"{name} is empty; copy or download it again")
    if not looks_like_video(head):
        raise VideoError(f"{name} is text or audio, not a video; give a video file")


def _stat_and_head(path: str, name: str) -> tuple[os.stat_result, bytes]:
    """Return a path's status, and the first bytes of a regular file.

    Nothing else is opened: opening a pipe may block for ever.
    """
    try:
        status, head = os.stat(path), b""
        if stat.S_ISREG(status.st_mode):
            with open(path, "rb") as file:
                head = file.read(_HEAD_BYTES)
        return status, head
    except (FileNotFoundError, NotADirectoryError):
        raise VideoError(f"{name} does not exist; check the path") from None
    except OSError as error:
        raise VideoError(f"{name} cannot be opened: {error.strerror}; check the path and its permissions") from None
    except ValueError:  # a zero byte
        raise VideoError(f"{name} is not a valid path; check it") from None


def _check_pixels(width: int, height: int, name: str, limits: Limits) -> None:
    if width * height > limits.pixels:
        limit = f"the limit is {limits.pixels} pixels"
        raise VideoError(f"{name} has frames of {width}x{height}, {limit}; give a smaller version")


def _check_duration(reader: PyAVReader, name: str, limits: Limits) -> None:
    seconds = reader.count / reader.fps if reader.fps else 0
    # The header may claim too much, so look for a frame at the limit.
    if seconds > limits.duration_seconds and reader.has_frame_at(limits.duration_seconds):
        limit = f"the limit is {limits.duration_seconds:.0f}"
        raise VideoError(f"{name} lasts {seconds:.0f} seconds, {limit}; give a shorter part of it")


def _read_file(path: str, wanted: _Wanted, limits: Limits) -> Video:
    name = wanted.name
    try:
        # PyAV opens the file even if decord decodes it. That takes milliseconds, and decord reports no frame size
        # before it decodes.
        pyav = PyAVReader(path)
        _check_pixels(pyav.width, pyav.height, name, limits)
        _check_duration(pyav, name, limits)
        try:
            return _sample(DecordReader(path, pyav), wanted)
        except DecodeError:
            return _sample(pyav, wanted)
    except DecodeError:
        raise VideoError(
            f"{name}: no video frame can be decoded; check that the file is complete, or "
            "convert it (ffmpeg -i VIDEO -c:v libx264 NEW.mp4)"
        ) from None


def _sample(reader: Reader, wanted: _Wanted) -> Video:
    while reader.count > 0:
        indices = wanted.indices(reader.count, reader.fps)
        try:
            frames = _assemble(reader.frames, indices, wanted)
        except Miscount:  # a few times at most: each one settles an assumption
            continue
        return Video(frames, tuple(indices), reader.count, reader.fps, reader.name)
    raise DecodeError("no frame")


def _read_folder(path: str, wanted: _Wanted, limits: Limits) -> Video:
    name = wanted.name
    try:
        files = sorted(entry for entry in os.listdir(path) if _is_image_name(entry))
    except OSError as error:
        raise VideoError(f"{name} cannot be opened: {error.strerror}; check its permissions") from None
    if not files:
        raise VideoError(f"{name} is a folder without images; give a video, or a folder of frames")
    indices = wanted.indices(len(files), 0.0)

    def open_files(numbers: list[int]) -> list[Callable[[], Image.Image]]:
        # The resize threads call these.
        return [partial(open_image, Path(path, files[index]), limits) for index in numbers]

    frames = _assemble(open_files, indices, wanted)
    return Video(frames, tuple(indices), len(files), 0.0, "images")


def is_picture(path: str) -> bool:
    """Tell whether a path names a still picture. GIFs count as videos."""
    return os.path.splitext(path)[1].lower() in _PICTURE_SUFFIXES and os.path.isfile(path)


def _is_image_name(name: str) -> bool:
    return Path(name).suffix.lower() in _IMAGE_SUFFIXES and not name.startswith(".")


def _assemble(
    read: Callable[[list[int]], Iterable[FrameOrOpener]], indices: list[int], wanted: _Wanted
) -> NDArray[np.uint8]:
    """Return the frames numbered `indices`, reading and resizing repeated ones once."""
    distinct, places = np.unique(indices, return_inverse=True)
    frames = resize_all(read(distinct.tolist()), len(distinct), wanted.image_size, wanted.name, wanted.fit)
    return frames if len(distinct) == len(indices) else frames[places]


def open_image(path: Path, limits: Limits) -> Image.Image:
    """Open a picture, in RGB.

    Raises:
        VideoError: it cannot be read, or has too many pixels.
    """
    name = printable(str(path))
    try:
        if not path.is_file():
            raise VideoError(f"{name} is not a file; replace or remove it")
        with Image.open(path, formats=_IMAGE_FORMATS) as image:
            _check_pixels(image.width, image.height, name, limits)
            return image.convert("RGB")
    except VideoError:
        raise
    except Exception:  # PIL raises much besides OSError
        raise VideoError(f"{name} cannot be read as an image; replace or remove it") from None
