"""A vLLM media connector for public servers: limits and proper errors.

vLLM 0.32 returns status 500 if it cannot open a file or a host of the client's choice, shows the server's folders to
clients, hangs on a pipe, and limits neither the size of files nor the pixels of JPEG frames. Fetching, redirects, and
the rules for files and domains stay vLLM's (vllm/multimodal/media/connector.py). Our connector is registered there, and
an environment variable selects it.
"""

import asyncio
import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sfllava_plugin.engine.serving import errors, middleware
from sfllava_plugin.engine.serving.video_loader import NAME as LOADER
from sfllava_plugin.engine.serving.video_loader import OPTIONS_KEY, LoaderOptions, checked_options, frames_for
from sfllava_plugin.video.errors import VideoError

if TYPE_CHECKING:
    from vllm.engine.arg_utils import EngineArgs
    from vllm.multimodal.media import MediaIO

#: The connector's name in vLLM's variable VLLM_MEDIA_CONNECTOR.
NAME = "sfllava"

Load = Callable[[], Any]


def register() -> None:
    """Register the connector; `enable` makes vLLM use it."""
    from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY, MediaConnector

    class SlowFastMediaConnector(MediaConnector):
        def __init__(self, *args: Any, **kwargs: Any):
            super().__init__(*args, **kwargs)
            video = self.media_io_kwargs.get("video", {})
            # None for a model that is not ours, in a process with both.
            self._options = video.get(OPTIONS_KEY)
            if self._options is not None:
                # A request may name another loader, which has no limits.
                kept = {name: video[name] for name in ("num_frames", OPTIONS_KEY) if name in video}
                self.media_io_kwargs = self.media_io_kwargs | {"video": kept | {"video_backend": LOADER}}

        def load_from_url(self, url: str, media_io: "MediaIO[Any]", **kwargs: Any) -> Any:
            if self._options is None:
                return super().load_from_url(url, media_io, **kwargs)
            with errors.translated(url):
                return super().load_from_url(url, _limited(media_io, self._options), **kwargs)()

        async def load_from_url_async(self, url: str, media_io: "MediaIO[Any]", **kwargs: Any) -> Any:
            if self._options is None:
                return await super().load_from_url_async(url, media_io, **kwargs)
            with errors.translated(url):
                load = await super().load_from_url_async(url, _limited(media_io, self._options), **kwargs)
                return await _in_thread(load)

    MEDIA_CONNECTOR_REGISTRY.register(NAME)(SlowFastMediaConnector)


def enable(arguments: "EngineArgs", pixels: int) -> None:
    """Use the connector in this process; the operator's own environment variables win.

    Args:
        arguments: the engine's. A list of allowed domains turns redirects off, since vLLM would follow them anywhere.
        pixels: the most that an image may have.
    """
    middleware.enable(arguments)
    os.environ.setdefault("VLLM_MEDIA_CONNECTOR", NAME)
    os.environ.setdefault("VLLM_MAX_IMAGE_PIXELS", str(pixels))
    if arguments.allowed_media_domains:
        os.environ.setdefault("VLLM_MEDIA_URL_ALLOW_REDIRECTS", "0")


def _limited(media_io: "MediaIO[Any]", options: object) -> "MediaIO[Load]":
    """Wrap a reader.

    Raises:
        VideoError: a request set the options.
    """
    # Not a subclass: this file does not import vLLM.
    return cast("MediaIO[Load]", _LimitedReader(media_io, checked_options(options)))


class _LimitedReader:
    """Wrap vLLM's `MediaIO`: check limits now, return a function that reads.

    vLLM's few threads fetch URLs. A video that waited for a decoder there would block one of them.
    """

    def __init__(self, media_io: Any, options: LoaderOptions):
        self._media_io, self._options = media_io, options

    def get_max_bytes(self) -> int:
        """Return the size limit of a download; vLLM's own may be lower."""
        return min(self._media_io.get_max_bytes() or self._options.limits.file_bytes, self._options.limits.file_bytes)

    def load_bytes(self, data: bytes) -> Load:
        return partial(self._media_io.load_bytes, data)

    def load_file(self, filepath: Path) -> Load:
        status, limit = filepath.stat(), self._options.limits.file_bytes
        if not stat.S_ISREG(status.st_mode):
            raise VideoError(f"{filepath.name} is not a file; give a video or an image")
        if status.st_size > limit:
            size = f"{status.st_size} bytes, the limit is {limit}"
            raise VideoError(f"{filepath.name} has {size}; give a smaller version")
        return partial(self._media_io.load_file, filepath)

    def load_base64(self, media_type: str, data: str) -> Load:
        from vllm.multimodal.media.base import MediaWithBytes

        from sfllava_plugin.engine.serving import jpeg_frames

        if media_type.lower() != jpeg_frames.MEDIA_TYPE:
            return partial(self._media_io.load_base64, media_type, data)
        num_frames = frames_for(self._media_io.num_frames, self._options)
        # JPEG frames need no decoder process.
        video = jpeg_frames.load(data, num_frames, self._options)
        return lambda: MediaWithBytes(video, data.encode())


async def _in_thread(load: Load) -> Any:
    """Call ``load`` in a daemon thread, which cannot delay the exit."""
    done: Future[Any] = Future()

    def call() -> None:
        try:
            result = load()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(result)

    threading.Thread(target=call, name="load-media", daemon=True).start()
    return await asyncio.wrap_future(done)
