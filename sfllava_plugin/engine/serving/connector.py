"""vLLM's media connector with what a server for strangers needs: our limits, and errors of the right kind.

vLLM 0.32 answers with 500 where a file or a host of the client's choice cannot be opened, tells clients the server's
folders, waits for ever at a pipe, reads files of any size, and takes as many pixels of JPEG frames as are sent.
Fetching itself, redirects, and what may be opened at all are vLLM's (vllm/multimodal/media/connector.py); its registry
of connectors takes ours, and the environment chooses one.
"""

import asyncio
import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfllava_plugin.engine.serving import errors, middleware
from sfllava_plugin.engine.serving.video_loader import NAME as LOADER
from sfllava_plugin.engine.serving.video_loader import SETTINGS, LoaderSettings, frames_for
from sfllava_plugin.video.errors import VideoError

if TYPE_CHECKING:
    from vllm.engine.arg_utils import EngineArgs

#: The connector's name in vLLM's variable VLLM_MEDIA_CONNECTOR.
NAME = "sfllava"

Load = Callable[[], Any]


def register() -> None:
    """Enter the connector; `choose` makes vLLM use it."""
    from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY, MediaConnector

    class SlowFastMediaConnector(MediaConnector):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            video = self.media_io_kwargs.get("video", {})
            # None with a model that is not ours, in a process that has both.
            self._settings = video.get(SETTINGS)
            if self._settings is not None:
                # A request may name another loader, which knows no limits.
                kept = {name: video[name] for name in ("num_frames", SETTINGS) if name in video}
                self.media_io_kwargs = self.media_io_kwargs | {"video": kept | {"video_backend": LOADER}}

        def load_from_url(self, url, media_io, **kwargs):
            if self._settings is None:
                return super().load_from_url(url, media_io, **kwargs)
            with errors.translated(url):
                return super().load_from_url(url, _WithinLimits(media_io, self._settings), **kwargs)()

        async def load_from_url_async(self, url, media_io, **kwargs):
            if self._settings is None:
                return await super().load_from_url_async(url, media_io, **kwargs)
            with errors.translated(url):
                load = await super().load_from_url_async(url, _WithinLimits(media_io, self._settings), **kwargs)
                return await _in_a_thread(load)

    MEDIA_CONNECTOR_REGISTRY.register(NAME)(SlowFastMediaConnector)


def choose(arguments: "EngineArgs", pixels: int) -> None:
    """Use the connector in this process, and fetch within bounds; what the operator's environment says wins.

    Args:
        arguments: with a list of allowed domains, redirects are not followed: vLLM would follow them anywhere.
        pixels: the most that an image may have.
    """
    middleware.choose(arguments)
    os.environ.setdefault("VLLM_MEDIA_CONNECTOR", NAME)
    os.environ.setdefault("VLLM_MAX_IMAGE_PIXELS", str(pixels))
    if arguments.allowed_media_domains:
        os.environ.setdefault("VLLM_MEDIA_URL_ALLOW_REDIRECTS", "0")


class _WithinLimits:
    """A reader of media (vLLM's `MediaIO`) that looks before it reads, and gives a function that reads.

    vLLM's threads fetch what a URL leads to. A video that waits for a decoder would keep one of them from it.
    """

    def __init__(self, media_io: Any, settings: LoaderSettings):
        if not isinstance(settings, LoaderSettings):
            raise VideoError(f"{SETTINGS!r} among the settings of a video is the server's; leave it out")
        self._media_io, self._settings = media_io, settings

    def get_max_bytes(self) -> int:
        """The most that is downloaded; vLLM's own limit may be lower."""
        return min(self._media_io.get_max_bytes() or self._settings.limits.file_bytes, self._settings.limits.file_bytes)

    def load_bytes(self, data: bytes) -> Load:
        return partial(self._media_io.load_bytes, data)

    def load_file(self, filepath: Path) -> Load:
        status, most = filepath.stat(), self._settings.limits.file_bytes
        if not stat.S_ISREG(status.st_mode):
            raise VideoError(f"{filepath.name} is not a file; give a video or an image")
        if status.st_size > most:
            raise VideoError(f"{filepath.name} has {status.st_size} bytes, the limit is {most}; give a smaller version")
        return partial(self._media_io.load_file, filepath)

    def load_base64(self, media_type: str, data: str) -> Load:
        from vllm.multimodal.media.base import MediaWithBytes

        from sfllava_plugin.engine.serving import jpeg_frames

        if media_type.lower() != jpeg_frames.MEDIA_TYPE:
            return partial(self._media_io.load_base64, media_type, data)
        num_frames = frames_for(self._media_io.num_frames, self._settings)
        # No decoder is waited for.
        video = jpeg_frames.load(data, num_frames, self._settings)
        return lambda: MediaWithBytes(video, data.encode())


async def _in_a_thread(load: Load) -> Any:
    """Call ``load`` in a thread of its own, which no exit of the program waits for."""
    done: Future = Future()

    def call() -> None:
        try:
            result = load()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(result)

    threading.Thread(target=call, name="load-media", daemon=True).start()
    return await asyncio.wrap_future(done)
