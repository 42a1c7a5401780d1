"""A pool of decoding workers.

On a server, where a video waits at most `wait_seconds`, each video is first tried for a short time. One that needs more
is slow, and slow videos leave one worker free: a few that take minutes do not hold up those that take a second.
"""

import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sfllava_plugin.limits import Limits
from sfllava_plugin.video.errors import VideoError
from sfllava_plugin.video.frames import Video
from sfllava_plugin.video.isolation.scheduler import Attempt, Scheduler
from sfllava_plugin.video.isolation.worker import CRASHES, Request
from sfllava_plugin.video.isolation.worker_process import WorkerDied, WorkerProcess


class Stopped(Exception):
    """The calling thread was stopped; its video is no longer needed."""


class Pool:
    """Idle workers, and busy ones by the thread they decode for."""

    def __init__(self) -> None:
        self._scheduler = Scheduler()
        self._lock = threading.Lock()
        self._idle: list[WorkerProcess] = []
        self._busy: dict[threading.Thread, WorkerProcess] = {}
        self._stopped: weakref.WeakSet[threading.Thread] = weakref.WeakSet()

    def decode(self, request: Request, file: int | None, limits: Limits, *, fail_when_busy: bool) -> Video:
        """Decode a video once a worker is free.

        Args:
            file: descriptor of an open file with the video; None if the request names one.
            fail_when_busy: as in `isolated.read_video`.
        """
        slots, seconds = limits.decoders, limits.decode_seconds
        try:
            if not fail_when_busy:
                return self._decode(request, file, Attempt(slots, seconds))
            try:
                quick_seconds = min(limits.quick_seconds, seconds)
                return self._decode(request, file, Attempt(slots, quick_seconds, limits.wait_seconds))
            except TimeoutError:
                return self._decode(request, file, Attempt(slots, seconds, limits.wait_seconds, is_slow=True))
        except TimeoutError:
            took = f"decoding took longer than {seconds:g} seconds"
            raise VideoError(f"{request['name']}: {took}; give a shorter or smaller video") from None

    def stop(self, threads: Iterable[threading.Thread]) -> None:
        """Kill the workers of these threads, and cancel their waiting."""
        with self._lock:
            self._stopped.update(threads)
            for thread, worker in self._busy.items():
                if thread in self._stopped:
                    worker.kill()
        self._scheduler.wake()

    def stop_all(self) -> None:
        """Kill every busy worker."""
        self.stop(threading.enumerate())

    def abandon(self) -> None:
        """In a forked copy of the process, leave the workers alone."""
        for worker in [*self._idle, *self._busy.values()]:
            worker.abandon()

    def _decode(self, request: Request, file: int | None, attempt: Attempt) -> Video:
        """Decode a video once there is a slot for it.

        Raises:
            TimeoutError: decoding takes longer than the attempt allows.
        """
        with self._scheduler.slot(attempt, self._is_stopped):
            while True:
                with self._worker(all_files=file is None) as worker:
                    is_new = worker.served == 0
                    try:
                        result = worker.decode(request, file, attempt.seconds)
                        break
                    except WorkerDied:
                        if self._is_stopped():
                            raise Stopped from None
                        # An earlier video may have corrupted an old worker: only a new one proves this video guilty.
                        if is_new:
                            raise VideoError(CRASHES.format(name=request["name"])) from None
        if isinstance(result, Video):
            return result
        raise VideoError(result)

    def _is_stopped(self) -> bool:
        return threading.current_thread() in self._stopped

    @contextmanager
    def _worker(self, all_files: bool) -> Iterator[WorkerProcess]:
        """Lend a worker for one video.

        Raises:
            Stopped: the calling thread was stopped.
        """
        worker = self._pop_idle(all_files) or WorkerProcess(all_files)
        try:
            with self._lock:
                self._busy[threading.current_thread()] = worker
            # Checked once the worker is registered, because only from then on does stop() kill it.
            if self._is_stopped():
                raise Stopped
            yield worker
        finally:
            with self._lock:
                self._busy.pop(threading.current_thread(), None)
                if worker.usable:
                    self._idle.append(worker)
            if not worker.usable:
                worker.end()

    def _pop_idle(self, all_files: bool) -> WorkerProcess | None:
        with self._lock:
            for place in reversed(range(len(self._idle))):
                if self._idle[place].all_files == all_files:
                    return self._idle.pop(place)
        return None
