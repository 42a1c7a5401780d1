"""PyAV's frames as RGB pictures: the right way up, with the colours that the video's own matrix gives.

PyAV by itself takes every matrix for that of standard definition; decord does not.
"""

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

# The matrix of a frame that names none, and that of RGB, in FFmpeg's numbers (AVCOL_SPC).
_UNSPECIFIED, _RGB = 2, 0

# Formats whose values go from 0 to 255 whatever the video says, as FFmpeg takes them: JPEG's, and gray ones.
_FULL_RANGE = ("yuvj", "gray", "ya")


def to_rgb(frame: av.VideoFrame) -> np.ndarray:
    """A frame as uint8 [H, W, 3]."""
    if frame.format.is_rgb or "pal8" in frame.format.name:
        picture = frame.to_ndarray(format="rgb24")
    else:
        full_range = frame.format.name.startswith(_FULL_RANGE) or frame.color_range == ColorRange.JPEG
        picture = frame.reformat(
            format="rgb24",
            src_colorspace=Colorspace.ITU601 if frame.colorspace == _UNSPECIFIED else frame.colorspace,
            # There is none in RGB; one that is not the source's makes PyAV look at the source's.
            dst_colorspace=_RGB,
            src_color_range=ColorRange.JPEG if full_range else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
        ).to_ndarray()
    return np.ascontiguousarray(np.rot90(picture, frame.rotation // 90)) if frame.rotation else picture
