"""Decode videos in a process of its own: `python -m sfllava_plugin.video.isolation.worker SOCKET FILES`.

Requests come over the socket, a line of JSON each; a video that is no path comes as an open file with its request. The
answer is a line of JSON, and behind it the frames' bytes. Whatever a video does to a decoder, it does it here: what it
can take and reach is bounded, and the system ends a decoder that never comes back, even when nobody is left to do that.
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

from sfllava_plugin.video.isolation.sandbox import confine

#: Whether a process may read all files, or none but the program's.
ALL_FILES, NO_FILES = "all", "none"
#: A request is a path, a name and a few numbers.
LONGEST_REQUEST = 64 * 1024
#: What the other side says, too, when it finds the process gone.
CRASHES = "{name} crashes the decoder; convert it (ffmpeg -i VIDEO -c:v libx264 NEW.mp4)"
TOO_MUCH = "{name} takes more memory to decode than is allowed; give a smaller version"
#: How much later than the other side this one gives up.
_GRACE_SECONDS = 5
#: Errors of a program, which no video explains: readers turn what a video causes into a DecodeError.
_FAULTS = (TypeError, AttributeError, NameError, ImportError, KeyError, AssertionError, NotImplementedError)


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    # An interrupt of the user is for the program; this process ends with the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    silence = os.open(os.devnull, os.O_WRONLY)
    # Before libraries start threads: namespaces are for a process with one.
    abilities = confine(all_files=sys.argv[2] == ALL_FILES)
    try:
        # They need the decoders, and may find them missing.
        from sfllava_plugin.video.decode import decode
    except Exception as error:
        _say(channel, _fault(error))
        return
    # Damaged videos make libraries talk; until here, what is missing was to be seen.
    os.dup2(silence, 2)
    _say(channel, {"abilities": abilities})
    while request := _receive(channel):
        _answer(channel, decode, *request)


def _receive(channel: socket.socket) -> tuple[dict, int | None] | None:
    """The next request and the open file that came with it, or None at the end."""
    line, files = b"", array.array("i")
    while not line.endswith(b"\n"):
        piece, received, _, _ = socket.recv_fds(channel, LONGEST_REQUEST, 1)
        if not piece:
            return None
        line += piece
        files.extend(received)
    return json.loads(line), files[0] if files else None


def _answer(channel: socket.socket, decode, request: dict, file: int | None) -> None:
    from sfllava_plugin.limits import Limits
    from sfllava_plugin.video.errors import VideoError

    limits = Limits(**request["limits"])
    _bound_memory(limits.decode_bytes)
    signal.alarm(math.ceil(limits.decode_seconds) + _GRACE_SECONDS)
    try:
        video = decode(
            request["path"] if file is None else f"/dev/fd/{file}",
            num_frames=request["num_frames"],
            image_size=request["image_size"],
            limits=limits,
            name=request["name"],
        )
        answer, frames = vars(video) | {"frames": len(video.frames)}, video.frames
    except VideoError as error:
        answer, frames = {"error": str(error)}, b""
    except MemoryError:
        answer, frames = {"error": TOO_MUCH.format(name=request["name"])}, b""
    except _FAULTS as error:
        answer, frames = _fault(error), b""
    except Exception:  # a library's, of a kind that nobody told us
        answer, frames = {"error": CRASHES.format(name=request["name"])}, b""
    finally:
        signal.alarm(0)
        if file is not None:
            os.close(file)
    _say(channel, answer)
    channel.sendall(frames)


def _bound_memory(most: int) -> None:
    """Take ``most`` bytes at most, or what a container or a job allows if that is less."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _fault(error: Exception) -> dict:
    """An error of the program: what and where in one line, and all of it for a log."""
    [*_, last] = traceback.extract_tb(error.__traceback__)
    what = " ".join(traceback.format_exception_only(error)[-1].split())
    where = f"{os.path.basename(last.filename)}, line {last.lineno}"
    return {"fault": f"{what} ({where})", "details": "".join(traceback.format_exception(error))}


def _say(channel: socket.socket, answer: dict) -> None:
    channel.sendall(json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
