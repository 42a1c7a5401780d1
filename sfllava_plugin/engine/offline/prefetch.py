"""Decodes videos ahead of the engine, a bounded number of them, each once.

It knows paths, and that reading one takes a while. It does not know questions or engines.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from sfllava_plugin.limits import DEFAULTS, Limits
from sfllava_plugin.video import isolated

T = TypeVar("T")


@dataclass(frozen=True)
class Decoded(Generic[T]):
    """A video of the job by its number, and what was read or why it could not be."""

    number: int
    video: T | None
    error: Exception | None = None


class Lookahead(Generic[T]):
    """Videos in order, decoded by ``read`` in threads; a context manager, which drops what was not asked for.

    As many are decoded at once, and as many are being decoded or wait decoded, as ``limits`` say: memory does not grow
    with the job. ``paths`` are drawn as they are needed.
    """

    def __init__(self, paths: Iterable[str], read: Callable[[str], T], limits: Limits = DEFAULTS):
        self._read, self._ahead = read, limits.look_ahead
        self._threads: list[threading.Thread] = []
        self._pool = ThreadPoolExecutor(
            limits.decoders,
            thread_name_prefix="decode",
            initializer=lambda: self._threads.append(threading.current_thread()),
        )
        self._waiting: deque[tuple[int, Future]] = deque()
        self._paths = enumerate(paths)

    def __enter__(self) -> "Lookahead[T]":
        self._fill()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        # A decoder may take minutes more for a video that nobody will ask for.
        isolated.stop(self._threads)
        self._pool.shutdown(wait=True)

    @property
    def ready(self) -> bool:
        """Whether the next video can be had without waiting."""
        return bool(self._waiting) and self._waiting[0][1].done()

    def __iter__(self) -> Iterator[Decoded[T]]:
        return self

    def __next__(self) -> Decoded[T]:
        """The next video, waited for."""
        if not self._waiting:
            raise StopIteration
        number, future = self._waiting.popleft()
        error = future.exception()
        self._fill()
        if error is not None and not isinstance(error, Exception):
            raise error
        return Decoded(number, None, error) if error else Decoded(number, future.result())

    def _fill(self) -> None:
        while len(self._waiting) < self._ahead:
            number, path = next(self._paths, (None, None))
            if number is None:
                return
            self._waiting.append((number, self._pool.submit(self._read, path)))
