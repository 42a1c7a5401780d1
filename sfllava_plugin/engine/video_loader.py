"""frames.py as a vLLM video loader (vllm/multimodal/video.py): bytes in, resized frames out.

It runs on vLLM's media threads, so the resize happens here and not on the one thread of the processor.
"""

from typing import Any

import numpy as np

from sfllava_plugin.frames import MAX_FRAMES, Video, VideoError, read_video
from sfllava_plugin.model_directory import VIDEO_PROCESSOR

#: The loader's name in ``--media-io-kwargs '{"video": {"video_backend": ...}}'``.
NAME = "sfllava"


def register() -> None:
    """Enter the loader, for model directories that name our video processor."""
    from vllm.multimodal.video import VIDEO_LOADER_REGISTRY, VideoLoader

    class SlowFastVideoLoader(VideoLoader):
        @classmethod
        def load_bytes(
            cls, data: bytes, num_frames: int = -1, image_size: int | None = None, **kwargs: Any
        ) -> tuple[np.ndarray, dict[str, Any]]:
            return load(data, num_frames, image_size)

    VIDEO_LOADER_REGISTRY.register(NAME, video_processor=VIDEO_PROCESSOR)(SlowFastVideoLoader)


def load(data: bytes, num_frames: int, image_size: int | None) -> tuple[np.ndarray, dict[str, Any]]:
    """Read a video for the engine.

    Args:
        num_frames: how many are wanted; -1 is vLLM's word for all, which stops at `MAX_FRAMES`.
        image_size: the tower's; a model directory of ours always brings it (defaults.py).

    Returns:
        Frames, uint8 [T, S, S, 3], and the metadata vLLM keeps with a video.

    Raises:
        VideoError: the video cannot be read; vLLM answers the client with its message.
    """
    if image_size is None:
        raise VideoError(f"the video loader {NAME} works only with models of sfllava_plugin")
    video = read_video(data, num_frames=MAX_FRAMES if num_frames == -1 else num_frames, image_size=image_size)
    return video.frames, metadata(video)


def metadata(video: Video) -> dict[str, Any]:
    """What vLLM keeps beside the frames of a video (`VideoLoader.create_hf_metadata`)."""
    return {
        "total_num_frames": video.total_frames,
        "fps": video.fps,
        "duration": video.total_frames / video.fps if video.fps else 0.0,
        "video_backend": NAME,
        "frames_indices": list(video.indices),
        "do_sample_frames": False,
    }
