"""What goes wrong while media are loaded, as errors that vLLM answers rightly.

The client's are ValueErrors (400). What this machine lacks at the moment is 503, and goes into the log.
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
#: What the machine has too little of, whichever file or host was to be opened.
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
    """Raise what goes wrong with a URL as an error that vLLM answers rightly."""
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
        said = "the video was not decoded, by a fault of this server and not of the video; the server's log says more"
        raise GracefulHTTPError(said, HTTPStatus.INTERNAL_SERVER_ERROR) from error
    except Exception as error:
        if _is_shortage(error):
            logger.exception("media cannot be loaded: this machine lacks something")
            raise _unavailable() from error
        if (message := _of_client(error, url)) is None:
            raise
        raise ValueError(message) from error


def _unavailable() -> Exception:
    from vllm.exceptions import GracefulHTTPError

    return GracefulHTTPError("this server cannot read videos at the moment; try again", HTTPStatus.SERVICE_UNAVAILABLE)


def _is_shortage(error: BaseException | None) -> bool:
    """Whether an error, or one behind it, comes from what this machine lacks."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _SHORTAGES):
            return True
        # The standard library's words, where no thread can be started.
        if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
            return True
        error = error.__cause__
    return False


def _of_client(error: Exception, url: str) -> str | None:
    """What is wrong with a URL, in words for the client; None if the error needs none, or is no client's."""
    import aiohttp
    from PIL import Image
    from vllm.connections import HTTPResponseSizeExceededError

    # The client knows the folder; whoever reads the message need not.
    name = PurePosixPath(url).name if url.lower().startswith("file:") else "the URL"
    match error:
        case HTTPResponseSizeExceededError():
            return f"the video is larger than {error.max_bytes} bytes; give a smaller version"
        case aiohttp.ClientResponseError():
            return f"the URL cannot be fetched: its host answered {error.status}; try again later"
        case TimeoutError() | aiohttp.ClientError():
            return "the URL cannot be fetched: its host does not answer; check it, or try again later"
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
