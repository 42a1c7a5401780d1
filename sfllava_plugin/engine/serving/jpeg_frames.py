"""Read videos sent as JPEG frames: ``data:video/jpeg;base64,FRAME,FRAME,...``, a format of vLLM's.

vLLM takes the first frames, at full size, all in memory. Here they are treated as any other video: sampled evenly, and
resized one at a time.
"""

import binascii
import io
from typing import Any

import numpy as np
import pybase64
from numpy.typing import NDArray
from PIL import Image

from sfllava_plugin.engine.serving.video_loader import LoaderOptions, metadata
from sfllava_plugin.video.errors import VideoError
from sfllava_plugin.video.frames import Video
from sfllava_plugin.video.resize import resize_frames
from sfllava_plugin.video.sampling import sample_indices

MEDIA_TYPE = "video/jpeg"


def load(data: str, num_frames: int, options: LoaderOptions) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """Read frames in base64, separated by commas.

    Returns:
        As `video_loader.load`: frames, uint8 [T, S, S, 3], and their metadata.

    Raises:
        VideoError: a frame is not a JPEG, or is too large.
    """
    parts = data.split(",")
    indices = sample_indices(len(parts), num_frames, options.sampling)
    distinct, places = np.unique(indices, return_inverse=True)
    read = [_read(parts[index], index, options)[0] for index in distinct.tolist()]
    # They are resized already; with the fit `native` they get one size here.
    frames = resize_frames(read, options.image_size, options.fit)[places]
    return frames, metadata(Video(frames, tuple(indices), len(parts), 0.0, "images"))


def _read(part: str, index: int, options: LoaderOptions) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(pybase64.b64decode(part, validate=True)), formats=["JPEG"]) as image:
            if image.width * image.height > options.limits.pixels:
                limit = f"the limit is {options.limits.pixels} pixels"
                raise VideoError(f"frame {index} has {image.width}x{image.height}, {limit}; give a smaller one")
            return resize_frames([image], options.image_size, options.fit)
    except (OSError, SyntaxError, Image.DecompressionBombError, binascii.Error) as error:
        raise VideoError(f"frame {index} is not a JPEG in base64; encode each frame as one") from error
