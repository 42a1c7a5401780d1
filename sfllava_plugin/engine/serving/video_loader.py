"""A vLLM video loader (vllm/multimodal/video.py): bytes in, resized frames out.

It runs on vLLM's media threads, so that resizing does not occupy the processor's single thread. Decoders are imported
with the first video, since every vLLM process of every model imports this file.
"""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sfllava_plugin.checkpoints.prepared import VIDEO_PROCESSOR
from sfllava_plugin.engine.serving import middleware
from sfllava_plugin.limits import Limits
from sfllava_plugin.video.errors import VideoError
from sfllava_plugin.video.fit import SQUASH, Fit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from vllm.config import ModelConfig

    from sfllava_plugin.video.frames import Video
    from sfllava_plugin.video.sampling import Sampling

logger = logging.getLogger(__name__)

#: The loader's name in ``--media-io-kwargs '{"video": {"video_backend": ...}}'``.
NAME = "sfllava"
#: The key of its options there.
OPTIONS_KEY = "sfllava"


@dataclass(frozen=True)
class LoaderOptions:
    """The operator's options for the loader, which no request can replace.

    With ``--trust-request-mm-kwargs`` a request may set any argument of the loader, but JSON cannot hold this object.
    """

    frames: int
    image_size: int
    limits: Limits
    sampling: "Sampling" = "middles"
    fit: Fit = SQUASH


def register() -> None:
    """Register the loader for model directories with our video processor."""
    from vllm.multimodal.video import VIDEO_LOADER_REGISTRY, VideoLoader

    class SlowFastVideoLoader(VideoLoader):
        @classmethod
        def load_bytes(
            cls, data: bytes, num_frames: int = -1, **kwargs: Any
        ) -> "tuple[NDArray[np.uint8], dict[str, Any]]":
            return load(data, num_frames, checked_options(kwargs.get(OPTIONS_KEY)))

    VIDEO_LOADER_REGISTRY.register(NAME, video_processor=VIDEO_PROCESSOR)(SlowFastVideoLoader)


def options_of(model_config: "ModelConfig") -> LoaderOptions:
    """Return the operator's options, as config_hook.py sets them.

    Raises:
        ValueError: every modality is switched off.
    """
    options: LoaderOptions = model_config.get_multimodal_config().media_io_kwargs["video"][OPTIONS_KEY]
    return options


def checked_options(options: object) -> LoaderOptions:
    """Return the loader's options if they are the operator's.

    Raises:
        VideoError: they came from a request.
    """
    if not isinstance(options, LoaderOptions):
        raise VideoError(f"the video option {OPTIONS_KEY!r} is reserved for the server; leave it out")
    return options


def load(data: bytes, num_frames: int, options: LoaderOptions) -> "tuple[NDArray[np.uint8], dict[str, Any]]":
    """Read a video for the engine.

    Args:
        num_frames: the number requested, capped at the operator's; -1, vLLM's value for all, means the operator's.
        options: the operator's; config_hook.py sets them for each of our model directories.

    Returns:
        Frames, uint8 [T, S, S, 3], and the metadata which vLLM keeps with a video.

    Raises:
        VideoError: the video cannot be read; vLLM returns the message to the client.
    """
    from sfllava_plugin.video.isolated import read_video

    frames = frames_for(num_frames, options)
    video = read_video(
        data,
        num_frames=frames,
        image_size=options.image_size,
        sampling=options.sampling,
        fit=options.fit,
        limits=options.limits,
        fail_when_busy=middleware.is_server(),
    )
    return video.frames, metadata(video)


def frames_for(requested: object, options: LoaderOptions) -> int:
    """Return the number of frames for a request, capped at the operator's.

    Raises:
        VideoError: ``requested`` is no number of frames.
    """
    if not isinstance(requested, int) or isinstance(requested, bool) or (requested < 1 and requested != -1):
        raise VideoError(f"num_frames is {requested!r}; give 1 to {options.frames}")
    if requested > options.frames or requested == -1:
        logger.warning(
            "a request asks for %d frames of a video and gets %d, the limit of this server", requested, options.frames
        )
        return options.frames
    return requested


def metadata(video: "Video") -> dict[str, Any]:
    """Return the metadata which vLLM keeps with a video (`VideoLoader.create_hf_metadata`)."""
    return {
        "total_num_frames": video.total_frames,
        "fps": video.fps,
        "duration": video.total_frames / video.fps if video.fps else 0.0,
        "video_backend": NAME,
        "frames_indices": list(video.indices),
        "do_sample_frames": False,
    }
