"""One process that decodes (decoding_process.py), as the program that starts it sees it.

Knows processes and what can happen to them. Does not know videos, or how many such processes there are.
"""

import json
import os
import socket
import subprocess
import sys

import numpy as np

from sfllava_plugin.video.errors import DecoderFault, DecoderUnavailable
from sfllava_plugin.video.frames import Video
from sfllava_plugin.video.isolation.worker import ALL_FILES, NO_FILES

#: Videos that one process decodes before another takes its place: what decoders leak goes with it.
_VIDEOS_OF_A_PROCESS = 200
#: To start one takes half a second, on a machine with much else to do far more.
_START_SECONDS = 120
_SEND_SECONDS = 30

#: Variables that libraries need to be found and to run; all others, with their keys and tokens, stay here.
_VARIABLES = {"PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "LANG", "PYTHONHOME", "PYTHONUTF8"}
_FAMILIES = ("LC_", "OPENBLAS_", "OMP_", "MKL_", "MALLOC_", "DECORD_")


class Lost(Exception):
    """The process died, or answered what it never would."""


class Decoder:
    """A process that decodes, and the socket to it.

    Args:
        all_files: whether it may read all files that this process may; otherwise none but its own.

    Attributes:
        served: videos it was given.
        usable: whether it can be given another.
        abilities: what it can do all the same that a decoder should not (sandbox.py).

    Raises:
        DecoderUnavailable: it does not start.
    """

    def __init__(self, all_files: bool):
        self.all_files, self.served, self.usable = all_files, 0, True
        try:
            self._channel, self._process = _start(ALL_FILES if all_files else NO_FILES)
        except OSError as error:
            raise DecoderUnavailable(f"no process that decodes videos can be started: {error.strerror}") from error
        self._answers = self._channel.makefile("rb")
        try:
            answer = self._answer(_START_SECONDS)
        except (Lost, TimeoutError) as error:
            self.end()
            raise DecoderUnavailable("the process that decodes videos did not start; what it said is above") from error
        if "fault" in answer:
            self.end()
            said = f"the process that decodes videos did not start: {answer['fault']}; see sfllava check"
            raise DecoderUnavailable(said, answer["details"])
        self.abilities: list[str] = answer["abilities"]

    def decode(self, request: dict, file: int | None, seconds: float) -> Video | str:
        """The video, or why it cannot be read.

        Raises:
            TimeoutError: it took longer than ``seconds``.
            Lost: the process is no more.
            DecoderFault: the program failed, and not because of the video.
        """
        self.served += 1
        self.usable = False
        self._channel.settimeout(_SEND_SECONDS)
        try:
            socket.send_fds(self._channel, [json.dumps(request).encode() + b"\n"], [] if file is None else [file])
        except OSError as error:
            raise Lost from error
        answer = self._answer(seconds)
        if "fault" in answer:
            said = f"{request['name']} was not decoded, by a fault of the program and not of the video"
            raise DecoderFault(f"{said}: {answer['fault']}; see sfllava check", answer["details"])
        result = answer["error"] if "error" in answer else self._video(answer, request)
        self.usable = self.served < _VIDEOS_OF_A_PROCESS
        return result

    def _answer(self, seconds: float) -> dict:
        self._channel.settimeout(seconds)
        try:
            answer = json.loads(self._answers.readline())
        except TimeoutError:
            raise
        except (OSError, ValueError) as error:
            raise Lost from error
        return answer

    def _video(self, answer: dict, request: dict) -> Video:
        size = request["image_size"]
        if not 1 <= answer["frames"] <= request["num_frames"]:
            raise Lost
        frames = np.empty((answer["frames"], size, size, 3), np.uint8)
        try:
            # It ends where the process does, whatever was announced.
            if self._answers.readinto(frames.data.cast("B")) != frames.nbytes:
                raise Lost
        except OSError as error:
            raise Lost from error
        return Video(frames, tuple(answer["indices"]), answer["total_frames"], answer["fps"], answer["decoder"])

    def kill(self) -> None:
        """End the process; whoever waits for its answer finds it lost."""
        self._process.kill()

    def end(self) -> None:
        """End the process, and wait until it is gone."""
        self._answers.close()
        self._channel.close()
        self._process.kill()
        self._process.wait()

    def forget(self) -> None:
        """Close a forked copy of the socket, and nothing else: locks may be held by threads that were not copied."""
        if (descriptor := self._channel.detach()) >= 0:
            os.close(descriptor)


def _start(files: str) -> tuple[socket.socket, subprocess.Popen]:
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            # -P: the current folder is none of what it imports.
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
    kept = {name: value for name, value in os.environ.items() if name in _VARIABLES or name.startswith(_FAMILIES)}
    # What this process imports, that one can.
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}
