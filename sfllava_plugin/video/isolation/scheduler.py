"""Who may decode when: so many videos at once, and slow ones leave a place to the others."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sfllava_plugin.video.errors import DecodersBusy


@dataclass(frozen=True)
class Turn:
    """What a video gets.

    Attributes:
        places: videos that may be decoded at once.
        seconds: to decode it.
        wait: seconds until it must have begun; None for no bound.
        is_slow: it is known to take long.
    """

    places: int
    seconds: float
    wait: float | None = None
    is_slow: bool = False


class Turns:
    """Counts what is being decoded."""

    def __init__(self):
        self._running, self._slow = 0, 0
        self._changed = threading.Condition()

    @contextmanager
    def take(self, turn: Turn, is_wanted: Callable[[], bool]) -> Iterator[None]:
        """Wait for a place, and keep it; without one if the video is not wanted any more.

        Raises:
            DecodersBusy: there was none for as long as it may wait.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._has_place(turn) or not is_wanted(), turn.wait):
                raise DecodersBusy(f"all decoders were busy for {turn.wait:g} seconds; try again later")
            self._running += 1
            self._slow += turn.is_slow
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._slow -= turn.is_slow
                self._changed.notify_all()

    def look_again(self) -> None:
        """Let those that wait find out whether they are wanted."""
        with self._changed:
            self._changed.notify_all()

    def _has_place(self, turn: Turn) -> bool:
        if turn.is_slow and self._slow >= max(1, turn.places - 1):
            return False
        return self._running < turn.places
