"""Decode videos for another process: `python -m sfllava_plugin.video.isolation.worker SOCKET FILES`.

Each request is a line of JSON on the socket; a video given as bytes comes with it as an open file. The reply is a line
of JSON followed by the bytes of the frames. Memory, files and network are restricted here, and an alarm of the kernel
ends a decoder that hangs, even if the other process is gone.
"""

import array
import json
import math
import os
import resource
import signal
import socket
import sys
import traceback
from typing import TYPE_CHECKING, Any, TypedDict

from sfllava_plugin.video.isolation.sandbox import confine

if TYPE_CHECKING:
    from collections.abc import Callable

    from sfllava_plugin.video.frames import Video
    from sfllava_plugin.video.sampling import Sampling

#: Values of FILES: the worker may read all files, or only those of the program.
ALL_FILES, NO_FILES = "all", "none"
#: Enough for a path, a name and a few numbers.
_REQUEST_BYTES = 64 * 1024
#: Also reported by pool.py, when it finds the worker dead.
CRASHES = "{name} crashes the decoder; convert it (ffmpeg -i VIDEO -c:v libx264 NEW.mp4)"
_OUT_OF_MEMORY = "{name} needs more memory to decode than the limit allows; give a smaller version"
#: The alarm goes off this much later than the other process gives up.
_GRACE_SECONDS = 5
#: Bugs, or a broken installation: errors caused by a video are DecodeErrors.
_BUGS = (TypeError, AttributeError, NameError, ImportError, KeyError, AssertionError, NotImplementedError)


class Request(TypedDict):
    """A video to decode.

    Attributes:
        path: None for a video whose open file comes with the request.
        name: the name used in error messages.
        num_frames, image_size, sampling: as in `video.decode.decode`.
        fit: the fields of `Fit`.
        limits: the fields of `Limits`.
    """

    path: str | None
    name: str
    num_frames: int
    image_size: int
    sampling: "Sampling"
    fit: dict[str, Any]
    limits: dict[str, Any]


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    # Ctrl-C is meant for the program; this process ends when the socket closes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    devnull = os.open(os.devnull, os.O_WRONLY)
    # Before any library starts a thread: only a single-threaded process can enter a user namespace.
    gaps = confine(all_files=sys.argv[2] == ALL_FILES)
    try:
        # Here, because the decoders it imports may be missing.
        from sfllava_plugin.video.decode import decode
    except Exception as error:
        _send(channel, _fault(error))
        return
    # Silence the decoders. Import errors above this line still reach stderr.
    os.dup2(devnull, 2)
    _send(channel, {"gaps": gaps})
    while request := _receive(channel):
        _serve(channel, decode, *request)


def _receive(channel: socket.socket) -> tuple[Request, int | None] | None:
    """Return the next request and its open file; None at the end."""
    line, files = b"", array.array("i")
    while not line.endswith(b"\n"):
        piece, received, _, _ = socket.recv_fds(channel, _REQUEST_BYTES, 1)
        if not piece:
            return None
        line += piece
        files.extend(received)
    request: Request = json.loads(line)
    return request, files[0] if files else None


def _serve(channel: socket.socket, decode: "Callable[..., Video]", request: Request, file: int | None) -> None:
    from sfllava_plugin.limits import Limits
    from sfllava_plugin.video.errors import VideoError
    from sfllava_plugin.video.fit import Fit

    limits = Limits(**request["limits"])
    _limit_memory(limits.decode_bytes)
    signal.alarm(math.ceil(limits.decode_seconds) + _GRACE_SECONDS)
    reply: dict[str, Any]
    frames: bytes | memoryview
    try:
        video = decode(
            request["path"] if file is None else f"/dev/fd/{file}",
            num_frames=request["num_frames"],
            image_size=request["image_size"],
            sampling=request["sampling"],
            fit=Fit(**request["fit"] | {"fill": tuple(request["fit"]["fill"])}),
            limits=limits,
            name=request["name"],
        )
        reply, frames = vars(video) | {"frames": video.frames.shape}, video.frames.data
    except VideoError as error:
        reply, frames = {"error": str(error)}, b""
    except MemoryError:
        reply, frames = {"error": _OUT_OF_MEMORY.format(name=request["name"])}, b""
    except _BUGS as error:
        reply, frames = _fault(error), b""
    except Exception:  # an undocumented error of a library
        reply, frames = {"error": CRASHES.format(name=request["name"])}, b""
    finally:
        signal.alarm(0)
        if file is not None:
            os.close(file)
    _send(channel, reply)
    channel.sendall(frames)


def _limit_memory(most: int) -> None:
    """Allow this process ``most`` bytes, or the hard limit if lower.

    Containers and batch systems set one.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _fault(error: Exception) -> dict[str, str]:
    """Describe a bug in one line, with the traceback for a log."""
    [*_, last] = traceback.extract_tb(error.__traceback__)
    what = " ".join(traceback.format_exception_only(error)[-1].split())
    where = f"{os.path.basename(last.filename)}, line {last.lineno}"
    return {"fault": f"{what} ({where})", "details": "".join(traceback.format_exception(error))}


def _send(channel: socket.socket, reply: dict[str, Any]) -> None:
    channel.sendall(json.dumps(reply).encode() + b"\n")


if __name__ == "__main__":
    main()
