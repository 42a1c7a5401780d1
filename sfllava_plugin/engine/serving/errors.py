"""Translate errors of loading media, for the right HTTP status.

The client's mistakes become ValueErrors (400). A shortage on this machine becomes 503, and is logged.
"""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import PurePosixPath

from sfllava_plugin.video.errors import DecoderFault, DecodersBusy, DecoderUnavailable

logger = logging.getLogger(__name__)

_LOCAL_FILES = "--allowed-local-media-path"
#: Shortages on this machine, whatever the file or host.
_SHORTAGES = {
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EAGAIN,
    errno.ENOBUFS,
    errno.EIO,
}


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Translate errors of loading a URL; vLLM handles the rest well."""
    from vllm.exceptions import GracefulHTTPError

    try:
        yield
    except DecodersBusy as error:
        logger.warning("a video was refused: %s", error)
        raise GracefulHTTPError(str(error), HTTPStatus.SERVICE_UNAVAILABLE) from error
    except DecoderFault as error:
        logger.error("%s\n%s", error, error.details)
        if isinstance(error, DecoderUnavailable):
            raise _unavailable() from error
        message = "the video could not be decoded because of a fault of this server; see the server's log"
        raise GracefulHTTPError(message, HTTPStatus.INTERNAL_SERVER_ERROR) from error
    except Exception as error:
        if _is_shortage(error):
            logger.exception("media cannot be loaded: this machine is short of a resource")
            raise _unavailable() from error
        if (mistake := _of_client(error, url)) is None:
            raise
        raise ValueError(mistake) from error


def _unavailable() -> Exception:
    from vllm.exceptions import GracefulHTTPError

    return GracefulHTTPError("this server cannot read videos at the moment; try again", HTTPStatus.SERVICE_UNAVAILABLE)


def _is_shortage(error: BaseException | None) -> bool:
    """Tell whether an error comes from a shortage on this machine."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _SHORTAGES):
            return True
        # The standard library's message if it cannot start a thread.
        if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
            return True
        error = error.__cause__
    return False


def _of_client(error: Exception, url: str) -> str | None:
    """Return a message for a client's mistake; None if vLLM's is fine."""
    import aiohttp
    from PIL import Image
    from vllm.connections import HTTPResponseSizeExceededError

    # The message may reach others, so it leaves out the folder.
    name = PurePosixPath(url).name if url.lower().startswith("file:") else "the URL"
    match error:
        case HTTPResponseSizeExceededError():
            return f"the video is larger than {error.max_bytes} bytes; give a smaller version"
        case aiohttp.ClientResponseError():
            return f"the URL cannot be fetched: its host answered {error.status}; try again later"
        case TimeoutError() | aiohttp.ClientError():
            return "the URL cannot be fetched: its host does not answer; check the URL, or try again later"
        case Image.DecompressionBombError():
            return "the image has too many pixels; give a smaller version"
        case NotImplementedError():
            return "only data: URLs in base64 can be read; encode the video"
        case OSError():
            return f"{name} cannot be opened: {error.strerror}; check the URL"
        case ValueError() | RuntimeError() if _LOCAL_FILES in str(error):
            return f"{name} is not in a folder that this server may read ({_LOCAL_FILES})"
        case RuntimeError() if "Symlink loop" in str(error):  # Python before 3.13
            return f"{name} cannot be opened; check the URL"
    return None
