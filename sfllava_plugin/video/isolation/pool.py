"""The processes that decode for this one.

A video that may wait only so long (`wait_seconds`) is tried for a short time first. If that is not enough it is a slow
one, and slow ones leave a decoder to the others: a few videos that take minutes do not stop those that take a second.
"""

import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sfllava_plugin.limits import Limits
from sfllava_plugin.video.errors import VideoError
from sfllava_plugin.video.frames import Video
from sfllava_plugin.video.isolation.scheduler import Turn, Turns
from sfllava_plugin.video.isolation.worker import CRASHES
from sfllava_plugin.video.isolation.worker_process import Decoder, Lost


class Stopped(Exception):
    """Nobody wants the video any more."""


class Pool:
    """Processes that wait for a video, and those that decode one."""

    def __init__(self):
        self._turns = Turns()
        self._lock = threading.Lock()
        self._idle: list[Decoder] = []
        self._busy: dict[threading.Thread, Decoder] = {}
        self._stopped: weakref.WeakSet[threading.Thread] = weakref.WeakSet()

    def decode(self, request: dict, file: int | None, limits: Limits, *, may_be_refused: bool) -> Video:
        """Decode a video; waits for a process.

        Args:
            file: an open file with the video; None if the request names a path.
            may_be_refused: if it has to wait too long, or takes long while others do.
        """
        places, seconds = limits.decoders, limits.decode_seconds
        try:
            if not may_be_refused:
                return self._decode(request, file, Turn(places, seconds))
            try:
                return self._decode(
                    request, file, Turn(places, min(limits.quick_seconds, seconds), limits.wait_seconds)
                )
            except TimeoutError:
                return self._decode(request, file, Turn(places, seconds, limits.wait_seconds, is_slow=True))
        except TimeoutError:
            took = f"decoding took longer than {seconds:g} seconds"
            raise VideoError(f"{request['name']}: {took}; give a shorter or smaller video") from None

    def stop(self, threads: Iterable[threading.Thread]) -> None:
        """End the processes that decode for these threads: nobody wants their videos any more."""
        with self._lock:
            self._stopped.update(threads)
            for thread, decoder in self._busy.items():
                if thread in self._stopped:
                    decoder.kill()
        self._turns.look_again()

    def stop_all(self) -> None:
        """End every process that decodes."""
        self.stop(threading.enumerate())

    def forget(self) -> None:
        """In a forked copy of this process: leave the processes to the original."""
        for decoder in [*self._idle, *self._busy.values()]:
            decoder.forget()

    def _decode(self, request: dict, file: int | None, turn: Turn) -> Video:
        """Decode a video once it has a turn.

        Raises:
            TimeoutError: it takes longer than the turn.
        """
        with self._turns.take(turn, self._is_wanted):
            while True:
                with self._decoder(all_files=file is None) as decoder:
                    is_new = decoder.served == 0
                    try:
                        result = decoder.decode(request, file, turn.seconds)
                        break
                    except Lost:
                        if not self._is_wanted():
                            raise Stopped from None
                        # What an earlier video left behind may have ended it: only a new process convicts this one.
                        if is_new:
                            raise VideoError(CRASHES.format(name=request["name"])) from None
        if isinstance(result, Video):
            return result
        raise VideoError(result)

    def _is_wanted(self) -> bool:
        return threading.current_thread() not in self._stopped

    @contextmanager
    def _decoder(self, all_files: bool) -> Iterator[Decoder]:
        """A process for one video.

        Raises:
            Stopped: nobody wants the video any more.
        """
        decoder = self._idle_one(all_files) or Decoder(all_files)
        try:
            with self._lock:
                self._busy[threading.current_thread()] = decoder
            # After it can be seen: from now on it is killed when this thread is stopped.
            if not self._is_wanted():
                raise Stopped
            yield decoder
        finally:
            with self._lock:
                self._busy.pop(threading.current_thread(), None)
                if decoder.usable:
                    self._idle.append(decoder)
            if not decoder.usable:
                decoder.end()

    def _idle_one(self, all_files: bool) -> Decoder | None:
        with self._lock:
            for place in reversed(range(len(self._idle))):
                if self._idle[place].all_files == all_files:
                    return self._idle.pop(place)
        return None
