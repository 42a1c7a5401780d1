"""Videos that come as frames: ``data:video/jpeg;base64,FRAME,FRAME,...``, a way of sending them that is vLLM's own.

vLLM takes the first frames, at full size, all in memory. Here they are a video like every other: sampled evenly, and
made small one by one.
"""

import binascii
import io
from typing import Any

import numpy as np
import pybase64
from PIL import Image

from sfllava_plugin.engine.serving.video_loader import LoaderSettings, metadata
from sfllava_plugin.video.errors import VideoError
from sfllava_plugin.video.frames import Video
from sfllava_plugin.video.resize import resize_frames
from sfllava_plugin.video.sampling import sample_indices

MEDIA_TYPE = "video/jpeg"


def load(data: str, num_frames: int, settings: LoaderSettings) -> tuple[np.ndarray, dict[str, Any]]:
    """Read frames in base64, with commas between them; returns what `video_loader.load` does.

    Raises:
        VideoError: a frame that is no JPEG or too large.
    """
    parts = data.split(",")
    indices = sample_indices(len(parts), num_frames)
    small = {index: _read(parts[index], index, settings) for index in set(indices)}
    frames = np.concatenate([small[index] for index in indices])
    return frames, metadata(Video(frames, tuple(indices), len(parts), 0.0, "images"))


def _read(part: str, index: int, settings: LoaderSettings) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(pybase64.b64decode(part, validate=True)), formats=["JPEG"]) as image:
            if image.width * image.height > settings.limits.pixels:
                limit = f"the limit is {settings.limits.pixels} pixels"
                raise VideoError(f"frame {index} has {image.width}x{image.height}, {limit}; give a smaller one")
            return resize_frames([image], settings.image_size)
    except (OSError, SyntaxError, Image.DecompressionBombError, binascii.Error) as error:
        raise VideoError(f"frame {index} is no JPEG in base64; send each frame so") from error
