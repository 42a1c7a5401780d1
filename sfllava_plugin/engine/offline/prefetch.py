"""Decode a job's videos in order, a few ahead of the engine."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from sfllava_plugin.engine.offline.questions import Source
from sfllava_plugin.limits import DEFAULTS, Limits
from sfllava_plugin.video import isolated

T = TypeVar("T")


@dataclass(frozen=True)
class Prefetched(Generic[T]):
    """The ``number``-th video of the job."""

    number: int
    video: T


@dataclass(frozen=True)
class Unreadable:
    """The error of reading the ``number``-th video."""

    number: int
    error: Exception


class Prefetcher(Generic[T]):
    """An iterator over videos, decoded by ``read`` in threads.

    It is a context manager, which cancels the rest on exit.

    Memory does not grow with the job: ``limits.decoders`` videos are decoded at once, ``limits.look_ahead`` are being
    decoded or held decoded, and ``paths`` is consumed lazily.
    """

    def __init__(self, paths: Iterable[Source], read: Callable[[Source], T], limits: Limits = DEFAULTS):
        self._read, self._ahead = read, limits.look_ahead
        self._threads: list[threading.Thread] = []
        self._pool = ThreadPoolExecutor(
            limits.decoders,
            thread_name_prefix="decode",
            initializer=lambda: self._threads.append(threading.current_thread()),
        )
        self._waiting: deque[tuple[int, Future[T]]] = deque()
        self._paths = enumerate(paths)

    def __enter__(self) -> "Prefetcher[T]":
        self._fill()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        # A video that is no longer needed may take minutes to decode.
        isolated.stop(self._threads)
        self._pool.shutdown(wait=True)

    @property
    def has_next_now(self) -> bool:
        """True if the next video is decoded."""
        return bool(self._waiting) and self._waiting[0][1].done()

    def __iter__(self) -> Iterator[Prefetched[T] | Unreadable]:
        return self

    def __next__(self) -> Prefetched[T] | Unreadable:
        """Return the next video; blocks until it is decoded."""
        if not self._waiting:
            raise StopIteration
        number, future = self._waiting.popleft()
        error = future.exception()
        self._fill()
        if error is not None and not isinstance(error, Exception):
            raise error
        return Unreadable(number, error) if error else Prefetched(number, future.result())

    def _fill(self) -> None:
        while len(self._waiting) < self._ahead:
            if (numbered := next(self._paths, None)) is None:
                return
            number, path = numbered
            self._waiting.append((number, self._pool.submit(self._read, path)))
