"""decoding.py as a vLLM video loader (vllm/multimodal/video.py): bytes in, resized frames out.

It runs on vLLM's media threads, so the resize happens here and not on the one thread of the processor. Decoders are
imported with the first video: every vLLM process of every model imports this file.
"""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sfllava_plugin.checkpoints.prepared import VIDEO_PROCESSOR
from sfllava_plugin.engine.serving import middleware
from sfllava_plugin.limits import Limits
from sfllava_plugin.video.errors import VideoError

if TYPE_CHECKING:
    import numpy as np

    from sfllava_plugin.video.frames import Video

logger = logging.getLogger(__name__)

#: The loader's name in ``--media-io-kwargs '{"video": {"video_backend": ...}}'``.
NAME = "sfllava"
#: Its settings' name there.
SETTINGS = "sfllava"


@dataclass(frozen=True)
class LoaderSettings:
    """What the operator decided; vLLM hands it to the loader beside what a request wants.

    An object and not numbers: with ``--trust-request-mm-kwargs`` a request may name any of the loader's arguments, and
    JSON makes no such object.
    """

    frames: int
    image_size: int
    limits: Limits


def register() -> None:
    """Enter the loader, for model directories that name our video processor."""
    from vllm.multimodal.video import VIDEO_LOADER_REGISTRY, VideoLoader

    class SlowFastVideoLoader(VideoLoader):
        @classmethod
        def load_bytes(cls, data: bytes, num_frames: int = -1, **kwargs: Any) -> "tuple[np.ndarray, dict[str, Any]]":
            return load(data, num_frames, kwargs.get(SETTINGS))

    VIDEO_LOADER_REGISTRY.register(NAME, video_processor=VIDEO_PROCESSOR)(SlowFastVideoLoader)


def load(data: bytes, num_frames: int, settings: LoaderSettings) -> "tuple[np.ndarray, dict[str, Any]]":
    """Read a video for the engine.

    Args:
        num_frames: how many are wanted; no more than the operator's, and so many for -1, vLLM's word for all.
        settings: the operator's; a model directory of ours always brings them (defaults.py).

    Returns:
        Frames, uint8 [T, S, S, 3], and the metadata vLLM keeps with a video.

    Raises:
        VideoError: the video cannot be read; vLLM answers the client with its message.
    """
    from sfllava_plugin.video.isolated import read_video

    frames = frames_for(num_frames, settings)
    video = read_video(
        data,
        num_frames=frames,
        image_size=settings.image_size,
        limits=settings.limits,
        fail_when_busy=middleware.is_server(),
    )
    return video.frames, metadata(video)


def frames_for(wanted: int, settings: LoaderSettings) -> int:
    """How many frames a request gets that wants so many.

    Raises:
        VideoError: it is no number of frames; or the settings are not ours.
    """
    if not isinstance(settings, LoaderSettings):
        raise VideoError(f"{SETTINGS!r} among the settings of a video is the server's; leave it out")
    if not isinstance(wanted, int) or isinstance(wanted, bool) or (wanted < 1 and wanted != -1):
        raise VideoError(f"num_frames is {wanted!r}; give 1 to {settings.frames}")
    if wanted > settings.frames or wanted == -1:
        logger.warning(
            "a request wants %d frames of a video and gets %d, what this server takes", wanted, settings.frames
        )
        return settings.frames
    return wanted


def metadata(video: "Video") -> dict[str, Any]:
    """What vLLM keeps beside the frames of a video (`VideoLoader.create_hf_metadata`)."""
    return {
        "total_num_frames": video.total_frames,
        "fps": video.fps,
        "duration": video.total_frames / video.fps if video.fps else 0.0,
        "video_backend": NAME,
        "frames_indices": list(video.indices),
        "do_sample_frames": False,
    }
