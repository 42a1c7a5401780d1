"""Convert PyAV's frames to RGB, upright and in the right colours.

By itself PyAV assumes the colour matrix of standard definition for every video; decord uses the video's own.
"""

from typing import cast

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

# FFmpeg's numbers (AVCOL_SPC) for a frame that names no matrix, and for RGB.
_UNSPECIFIED, _RGB = 2, 0

# FFmpeg treats these formats, JPEG's and gray ones, as full range (0 to 255), whatever the video's metadata.
_FULL_RANGE = ("yuvj", "gray", "ya")


def to_rgb(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """Return a frame as uint8 [H, W, 3]."""
    if frame.format.is_rgb or "pal8" in frame.format.name:
        picture = frame.to_ndarray(format="rgb24")
    else:
        full_range = frame.format.name.startswith(_FULL_RANGE) or frame.color_range == ColorRange.JPEG
        picture = frame.reformat(
            format="rgb24",
            src_colorspace=Colorspace.ITU601 if frame.colorspace == _UNSPECIFIED else frame.colorspace,
            # RGB has no matrix, but PyAV applies the source's only if the two differ.
            dst_colorspace=_RGB,
            src_color_range=ColorRange.JPEG if full_range else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
        ).to_ndarray()
    rgb = cast(NDArray[np.uint8], picture)  # rgb24 is uint8; PyAV declares the types of all formats
    return np.ascontiguousarray(np.rot90(rgb, frame.rotation // 90)) if frame.rotation else rgb
