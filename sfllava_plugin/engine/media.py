"""vLLM's media connector with what a server for strangers needs: our limits, and errors that are the client's.

vLLM 0.32 answers with 500 where a file or a host of the client's choice cannot be opened, tells clients the server's
folders, waits for ever at a pipe, reads files of any size, and takes as many pixels of JPEG frames as are sent.
Fetching itself, redirects, and what may be opened at all are vLLM's (vllm/multimodal/media/connector.py); its registry
of connectors takes ours, and the environment chooses one.
"""

import os
import stat
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from sfllava_plugin.decoders import VideoError
from sfllava_plugin.engine.video_loader import NAME as LOADER
from sfllava_plugin.engine.video_loader import SETTINGS, LoaderSettings, frames_for

if TYPE_CHECKING:
    from vllm.engine.arg_utils import EngineArgs

#: The connector's name in vLLM's variable VLLM_MEDIA_CONNECTOR.
NAME = "sfllava"
_LOCAL_FILES = "--allowed-local-media-path"


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
            with _client_errors(url):
                return super().load_from_url(url, self._within_limits(media_io), **kwargs)

        async def load_from_url_async(self, url, media_io, **kwargs):
            with _client_errors(url):
                return await super().load_from_url_async(url, self._within_limits(media_io), **kwargs)

        def _within_limits(self, media_io):
            return media_io if self._settings is None else _WithinLimits(media_io, self._settings)

    MEDIA_CONNECTOR_REGISTRY.register(NAME)(SlowFastMediaConnector)


def choose(arguments: "EngineArgs", pixels: int) -> None:
    """Use the connector in this process, and fetch within bounds; what the operator's environment says wins.

    Args:
        arguments: with a list of allowed domains, redirects are not followed: vLLM would follow them anywhere.
        pixels: the most that an image may have.
    """
    os.environ.setdefault("VLLM_MEDIA_CONNECTOR", NAME)
    os.environ.setdefault("VLLM_MAX_IMAGE_PIXELS", str(pixels))
    if arguments.allowed_media_domains:
        os.environ.setdefault("VLLM_MEDIA_URL_ALLOW_REDIRECTS", "0")


class _WithinLimits:
    """A reader of media (vLLM's `MediaIO`) that looks before it reads."""

    def __init__(self, media_io: Any, settings: LoaderSettings):
        if not isinstance(settings, LoaderSettings):
            raise VideoError(f"{SETTINGS!r} among the settings of a video is the server's; leave it out")
        self._media_io, self._settings = media_io, settings
        self.load_bytes = media_io.load_bytes

    def get_max_bytes(self) -> int:
        """The most that is downloaded; vLLM's own limit may be lower."""
        return min(self._media_io.get_max_bytes() or self._settings.limits.file_bytes, self._settings.limits.file_bytes)

    def load_file(self, filepath: Path):
        status, most = filepath.stat(), self._settings.limits.file_bytes
        if not stat.S_ISREG(status.st_mode):
            raise VideoError(f"{filepath.name} is not a file; give a video or an image")
        if status.st_size > most:
            raise VideoError(f"{filepath.name} has {status.st_size} bytes, the limit is {most}; give a smaller version")
        return self._media_io.load_file(filepath)

    def load_base64(self, media_type: str, data: str):
        from vllm.multimodal.media.base import MediaWithBytes

        from sfllava_plugin.engine import jpeg_frames

        if media_type.lower() != jpeg_frames.MEDIA_TYPE:
            return self._media_io.load_base64(media_type, data)
        num_frames = frames_for(self._media_io.num_frames, self._settings)
        return MediaWithBytes(jpeg_frames.load(data, num_frames, self._settings), data.encode())


@contextmanager
def _client_errors(url: str):
    """What is wrong with a URL, as a ValueError, which vLLM answers with 400."""
    import aiohttp
    from PIL import Image
    from vllm.connections import HTTPResponseSizeExceededError

    # The client knows the folder; whoever reads the message need not.
    name = PurePosixPath(url).name if url.lower().startswith("file:") else "the URL"
    try:
        yield
    except HTTPResponseSizeExceededError as error:
        raise ValueError(f"the video is larger than {error.max_bytes} bytes; give a smaller version") from error
    except aiohttp.ClientResponseError as error:
        raise ValueError(f"the URL cannot be fetched: its host answered {error.status}; try again later") from error
    except (TimeoutError, aiohttp.ClientError) as error:
        raise ValueError("the URL cannot be fetched: its host does not answer; check it, or try again later") from error
    except Image.DecompressionBombError as error:
        raise ValueError("the image has too many pixels; give a smaller version") from error
    except NotImplementedError as error:
        raise ValueError("only data: URLs in base64 can be read; encode the video") from error
    except OSError as error:
        raise ValueError(f"{name} cannot be opened: {error.strerror}; check the URL") from error
    except (ValueError, RuntimeError) as error:
        if _LOCAL_FILES in str(error):
            raise ValueError(f"{name} is not in a folder that this server may read ({_LOCAL_FILES})") from error
        if isinstance(error, RuntimeError):  # a link that leads to itself
            raise ValueError(f"{name} cannot be opened; check the URL") from error
        raise
