"""Reading videos in other processes: frames.py's `read_video`, for videos that nobody vouches for.

Decoders are native code. About one damaged file in 8000 makes decord loop for ever where no thread can be stopped, and
one made for that may crash it: in a process of its own that costs the one video, not the server. Such a process is
started when it is first needed, serves many videos, and is replaced when it dies or has grown old. Sending 50 frames of
336 x 336 back takes 10 ms.

This module knows processes and what can happen to them. It does not know videos.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from sfllava_plugin.decoding_process import CRASHES
from sfllava_plugin.frames import Video, VideoError, printable
from sfllava_plugin.limits import DEFAULTS, Limits

__all__ = ["read_video"]

#: Videos that one process decodes before another takes its place: what decoders leak goes with it.
_VIDEOS_OF_A_PROCESS = 200
#: To start one takes half a second, on a machine with much else to do far more.
_START_SECONDS = 120
_SEND_SECONDS = 30


def read_video(
    source: str | os.PathLike | bytes, *, num_frames: int, image_size: int, limits: Limits = DEFAULTS
) -> Video:
    """Samples, decodes and resizes one video in another process; waits while all of them are busy.

    Args:
        source: path of a video file or of a folder of images, or the bytes of a video file.
        num_frames, image_size, limits: as in `sfllava_plugin.frames.read_video`; time and memory are limited here, too.

    Raises:
        VideoError: as `sfllava_plugin.frames.read_video`; or the video took too long, or it crashed the decoder.
    """
    is_bytes = isinstance(source, (bytes, bytearray, memoryview))
    path = None if is_bytes else os.fsdecode(source)
    if is_bytes and len(source) > limits.file_bytes:
        limit = f"the limit is {limits.file_bytes}"
        raise VideoError(f"the video has {len(source)} bytes, {limit}; give a smaller version")
    request = {
        "path": path if is_bytes else os.path.abspath(path),
        "name": "the video" if is_bytes else printable(path),
        "num_frames": num_frames,
        "image_size": image_size,
        "limits": limits.model_dump(),
    }
    with _file_of(source) if is_bytes else contextlib.nullcontext() as file:
        return _pool.decode(request, file, limits)


@contextmanager
def _file_of(data: bytes) -> Iterator[int]:
    """An open file with ``data``; on Linux it stays in memory.

    decord can read bytes itself, and kills the process doing it when a video is cut short.
    """
    in_memory = hasattr(os, "memfd_create")
    with open(os.memfd_create("video"), "w+b", 0) if in_memory else tempfile.TemporaryFile(buffering=0) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
        yield file.fileno()


class _Lost(Exception):
    """The process died, or answered what it never would."""


class _Process:
    """One process that decodes, and the socket to it."""

    def __init__(self):
        self._channel, theirs = socket.socketpair()
        # What this process imports, that one can; -P: the current folder is none of it.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "sfllava_plugin.decoding_process", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=environment,
            )
        self._answers = self._channel.makefile("rb")
        self.served, self.waits = 0, True
        try:
            self._answer(_START_SECONDS)
        except (_Lost, TimeoutError) as error:
            self.end()
            raise OSError("the process that decodes videos did not start; what it said is above") from error

    def decode(self, request: dict, file: int | None, limits: Limits) -> Video | str:
        """The video, or why it cannot be read.

        Raises:
            TimeoutError: it took too long.
            _Lost: the process is no more.
        """
        self.served += 1
        self.waits = False
        self._channel.settimeout(_SEND_SECONDS)
        try:
            socket.send_fds(self._channel, [json.dumps(request).encode() + b"\n"], [] if file is None else [file])
        except OSError as error:
            raise _Lost from error
        answer = self._answer(limits.decode_seconds)
        result = answer["error"] if "error" in answer else self._video(answer, request)
        self.waits = self.served < _VIDEOS_OF_A_PROCESS
        return result

    def _answer(self, seconds: float) -> dict:
        self._channel.settimeout(seconds)
        try:
            answer = json.loads(self._answers.readline())
        except TimeoutError:
            raise
        except (OSError, ValueError) as error:
            raise _Lost from error
        return answer

    def _video(self, answer: dict, request: dict) -> Video:
        size = request["image_size"]
        if not 1 <= answer["frames"] <= request["num_frames"]:
            raise _Lost
        frames = np.empty((answer["frames"], size, size, 3), np.uint8)
        try:
            # It ends where the process does, whatever was announced.
            if self._answers.readinto(frames.data.cast("B")) != frames.nbytes:
                raise _Lost
        except OSError as error:
            raise _Lost from error
        return Video(frames, tuple(answer["indices"]), answer["total_frames"], answer["fps"], answer["decoder"])

    def end(self) -> None:
        self._answers.close()
        self._channel.close()
        self._process.kill()
        self._process.wait()

    def forget(self) -> None:
        """Close a forked copy of the socket, and nothing else: locks may be held by threads that were not copied."""
        if (descriptor := self._channel.detach()) >= 0:
            os.close(descriptor)


class _Pool:
    """The processes that decode for this one: those that wait for a video, and all there are."""

    def __init__(self):
        self._idle: list[_Process] = []
        self._busy = 0
        self._all: set[_Process] = set()
        self._changed = threading.Condition()

    def decode(self, request: dict, file: int | None, limits: Limits) -> Video:
        name = request["name"]
        while True:
            with self._one_of(limits.decoders) as process:
                is_new = process.served == 0
                try:
                    result = process.decode(request, file, limits)
                    break
                except TimeoutError:
                    took = f"decoding took longer than {limits.decode_seconds:g} seconds"
                    raise VideoError(f"{name}: {took}; give a shorter or smaller video") from None
                except _Lost:
                    # What an earlier video left behind may have ended it: only a new process convicts this one.
                    if is_new:
                        raise VideoError(CRASHES.format(name=name)) from None
        if isinstance(result, Video):
            return result
        raise VideoError(result)

    @contextmanager
    def _one_of(self, most: int) -> Iterator[_Process]:
        """A process, once fewer than ``most`` are busy."""
        with self._changed:
            self._changed.wait_for(lambda: self._busy < most)
            self._busy += 1
            process = self._idle.pop() if self._idle else None
        try:
            if process is None:
                process = _Process()
                self._all.add(process)
            yield process
        finally:
            with self._changed:
                self._busy -= 1
                if process and process.waits:
                    self._idle.append(process)
                elif process:
                    self._all.discard(process)
                    process.end()
                self._changed.notify()

    def forget(self) -> None:
        for process in self._all:
            process.forget()


_pool = _Pool()


def _start_anew() -> None:
    """In a forked copy of this process: the processes answer the original."""
    global _pool
    _pool.forget()
    _pool = _Pool()


os.register_at_fork(after_in_child=_start_anew)
