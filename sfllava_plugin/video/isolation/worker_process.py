"""Start a worker (worker.py), send it requests, and end it."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from sfllava_plugin.video.errors import DecoderFault, DecoderUnavailable
from sfllava_plugin.video.frames import Video
from sfllava_plugin.video.isolation.worker import ALL_FILES, NO_FILES, Request

#: Videos per worker. Replacing it then frees what decoders leak.
_VIDEOS_PER_WORKER = 200
#: A start takes half a second, but far longer on a busy machine.
_START_SECONDS = 120
_SEND_SECONDS = 30
#: Longer than any real reply: a worker that a video has taken over must not fill this process's memory.
_REPLY_BYTES = 16 * 2**20

#: Variables that the worker needs to find and run libraries. All others, which may hold keys and tokens, are withheld.
_VARIABLES = {"PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "LANG", "PYTHONHOME", "PYTHONUTF8"}
_PREFIXES = ("LC_", "OPENBLAS_", "OMP_", "MKL_", "MALLOC_", "DECORD_")


class WorkerDied(Exception):
    """A worker that died, or whose reply makes no sense."""


class WorkerProcess:
    """A worker and the socket to it.

    Args:
        all_files: let it read all files that this process may read; otherwise only those of the program.

    Attributes:
        served: videos sent to it so far.
        usable: whether it can take another video.
        gaps: what its sandbox fails to prevent, in words (sandbox.py).

    Raises:
        DecoderUnavailable: the worker does not start.
    """

    def __init__(self, all_files: bool):
        self.all_files, self.served, self.usable = all_files, 0, True
        try:
            self._channel, self._process = _start(ALL_FILES if all_files else NO_FILES)
        except OSError as error:
            raise DecoderUnavailable(f"cannot start a decoder process: {error.strerror}") from error
        self._replies = self._channel.makefile("rb")
        try:
            reply = self._receive(_START_SECONDS)
        except (WorkerDied, TimeoutError) as error:
            self.end()
            raise DecoderUnavailable("the decoder process did not start; see its error above") from error
        if "fault" in reply:
            self.end()
            message = f"the decoder process did not start: {reply['fault']}; run sfllava check"
            raise DecoderUnavailable(message, reply["details"])
        self.gaps: list[str] = reply["gaps"]

    def decode(self, request: Request, file: int | None, seconds: float) -> Video | str:
        """Return the video, or the reason why it cannot be read.

        Raises:
            TimeoutError: decoding took longer than ``seconds``.
            WorkerDied: the worker is gone.
            DecoderFault: the worker failed, and the video is not to blame.
        """
        self.served += 1
        self.usable = False
        self._channel.settimeout(_SEND_SECONDS)
        try:
            socket.send_fds(self._channel, [json.dumps(request).encode() + b"\n"], [] if file is None else [file])
        except OSError as error:
            raise WorkerDied from error
        with self._time_limit(seconds):
            reply = self._receive(seconds)
            video = None if reply.keys() & {"fault", "error"} else self._receive_video(reply, request)
        if "fault" in reply:
            message = f"{request['name']} was not decoded because of a fault in the program, not in the video"
            raise DecoderFault(f"{message}: {reply['fault']}; run sfllava check", reply["details"])
        self.usable = self.served < _VIDEOS_PER_WORKER
        return reply["error"] if video is None else video

    @contextmanager
    def _time_limit(self, seconds: float) -> Iterator[None]:
        """Kill the worker after ``seconds``.

        A socket's own timeout bounds each read, not a reply sent byte by byte by a worker that a video has taken over.

        Raises:
            TimeoutError: the time was up.
        """
        is_over = threading.Event()

        def expire() -> None:
            is_over.set()
            self.kill()

        timer = threading.Timer(seconds, expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        except WorkerDied:
            if is_over.is_set():
                raise TimeoutError from None
            raise
        finally:
            timer.cancel()

    def _receive(self, seconds: float) -> dict[str, Any]:
        self._channel.settimeout(seconds)
        try:
            reply = json.loads(self._replies.readline(_REPLY_BYTES))
        except TimeoutError:
            raise
        except (OSError, ValueError, RecursionError) as error:
            raise WorkerDied from error
        if not isinstance(reply, dict):
            raise WorkerDied
        return reply

    def _receive_video(self, reply: dict[str, Any], request: Request) -> Video:
        frames = np.empty(_shape(reply.get("frames"), request), np.uint8)
        try:
            # A worker that dies sends fewer bytes than it announced.
            if self._replies.readinto(frames.data.cast("B")) != frames.nbytes:
                raise WorkerDied
            return Video(frames, tuple(reply["indices"]), reply["total_frames"], reply["fps"], reply["decoder"])
        except (OSError, KeyError, TypeError) as error:
            raise WorkerDied from error

    def kill(self) -> None:
        """Kill the worker; a thread that waits for its reply gets WorkerDied."""
        self._process.kill()

    def end(self) -> None:
        """Kill the worker, and wait until it is gone."""
        self._replies.close()
        self._channel.close()
        self._process.kill()
        self._process.wait()

    def abandon(self) -> None:
        """In a forked copy of this process, close the socket only.

        The worker keeps serving the original. Nothing else is closed here: its lock may be held by a thread that the
        fork did not copy.
        """
        if (descriptor := self._channel.detach()) >= 0:
            os.close(descriptor)


def _shape(announced: Any, request: Request) -> tuple[int, int, int, int]:
    """Check the shape of the frames in a reply.

    Raises:
        WorkerDied: no honest worker sends it.
    """
    match announced:
        case [int(count), int(height), int(width), 3] if min(count, height, width) >= 1:
            side, limits = request["image_size"], request["limits"]
            if request["fit"]["kind"] == "native":
                whole = height * width <= limits["pixels"] and 3 * count * height * width <= limits["decode_bytes"]
            else:
                whole = height == width == side
            if whole and count <= request["num_frames"]:
                return count, height, width, 3
    raise WorkerDied


def _start(files: str) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            # -P: import nothing from the current folder.
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "sfllava_plugin.video.isolation.worker", str(theirs.fileno()), files],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=_environment(),
            )
        except OSError:
            ours.close()
            raise
    return ours, process


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in _VARIABLES or name.startswith(_PREFIXES)}
    # The worker must find what this process can import.
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}
