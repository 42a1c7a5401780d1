"""Small pictures of videos for the page."""

import base64
import io
from collections.abc import Iterable

from PIL import Image

from sfllava_plugin import registry
from sfllava_plugin.video.errors import DecoderFault, VideoError
from sfllava_plugin.video.fit import Fit
from sfllava_plugin.video.isolated import read_video

_FRAMES = 8
_SIDE = 144
_QUALITY = 70


def thumbnails(videos: Iterable[str]) -> dict[str, list[str]]:
    """Read evenly spaced frames as data URLs of JPEGs.

    A video that is missing or unreadable has none.

    Args:
        videos: paths.
    """
    limits = registry.load().limits
    found: dict[str, list[str]] = {}
    for video in videos:
        try:
            read = read_video(video, num_frames=_FRAMES, image_size=_SIDE, fit=Fit("pad"), limits=limits)
        except (VideoError, DecoderFault):
            found[video] = []
        else:
            found[video] = [_data_url(Image.fromarray(frame)) for frame in read.frames]
    return found


def _data_url(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
