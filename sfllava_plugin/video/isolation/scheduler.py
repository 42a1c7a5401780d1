"""Limit the videos decoded at once; slow ones leave a slot free."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sfllava_plugin.video.errors import DecodersBusy


@dataclass(frozen=True)
class Attempt:
    """An attempt to decode one video.

    Attributes:
        slots: videos that may be decoded at once.
        seconds: time limit for decoding.
        wait: time limit for getting a slot, in seconds; None for no limit.
        is_slow: an earlier attempt ran out of time.
    """

    slots: int
    seconds: float
    wait: float | None = None
    is_slow: bool = False


class Scheduler:
    """Counts the videos being decoded, and makes further ones wait."""

    def __init__(self) -> None:
        self._running, self._slow = 0, 0
        self._changed = threading.Condition()

    @contextmanager
    def slot(self, attempt: Attempt, is_cancelled: Callable[[], bool]) -> Iterator[None]:
        """Hold a slot, waiting for one unless the attempt is cancelled.

        Raises:
            DecodersBusy: no slot became free in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._has_slot(attempt) or is_cancelled(), attempt.wait):
                raise DecodersBusy(f"all decoders were busy for {attempt.wait:g} seconds; try again later")
            self._running += 1
            self._slow += attempt.is_slow
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._slow -= attempt.is_slow
                self._changed.notify_all()

    def wake(self) -> None:
        """Make waiting attempts check whether they are cancelled."""
        with self._changed:
            self._changed.notify_all()

    def _has_slot(self, attempt: Attempt) -> bool:
        if attempt.is_slow and self._slow >= max(1, attempt.slots - 1):
            return False
        return self._running < attempt.slots
