"""Turn a video file or a folder of images into frames.

The names are imported on first use: a decoding worker imports this package too, and must not load the worker pool.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sfllava_plugin.video.errors import VideoError
    from sfllava_plugin.video.frames import Video
    from sfllava_plugin.video.isolated import read_video
    from sfllava_plugin.video.sampling import sample_indices

__all__ = ["Video", "VideoError", "read_video", "sample_indices"]

_MODULES = {"Video": "frames", "VideoError": "errors", "read_video": "isolated", "sample_indices": "sampling"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
