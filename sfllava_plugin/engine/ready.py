"""The questions of a job in the order in which the engine gets them: video after video, as these are decoded.

It knows which question belongs to which video, and whether the next one can be had without waiting. It does not know
what a question is made of, or engines.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sfllava_plugin.engine.lookahead import Lookahead

Q = TypeVar("Q")


@dataclass(frozen=True)
class Ready(Generic[Q]):
    """A question by its position in the job, and its decoded video or why there is none."""

    position: int
    question: Q
    video: Any
    error: Exception | None


class ReadyQuestions(Generic[Q]):
    """Groups questions by video, the videos in the order in which they first occur; a context manager.

    Args:
        video_of: a question's video.
        order: of two questions on a video, the one with the smaller key comes first.
        read: decodes a video, in threads.
    """

    def __init__(
        self,
        questions: Iterable[Q],
        video_of: Callable[[Q], str],
        order: Callable[[Q], Any],
        read: Callable[[str], Any],
    ):
        groups: dict[str, list[tuple[int, Q]]] = {}
        for position, question in enumerate(questions):
            groups.setdefault(video_of(question), []).append((position, question))
        self._order = order
        self._videos = Lookahead(list(groups), read)
        self._waiting = deque(groups.values())
        self._current: deque[Ready[Q]] = deque()

    def __enter__(self) -> "ReadyQuestions[Q]":
        self._videos.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._videos.__exit__(*exception)

    def __bool__(self) -> bool:
        """Whether there are any left, decoded or not."""
        return bool(self._current or self._waiting)

    @property
    def begins_video(self) -> bool:
        """Whether the next question is the first on its video."""
        return not self._current

    @property
    def at_hand(self) -> bool:
        """Whether the next question can be had without waiting for a decoder."""
        return bool(self._current) or self._videos.ready

    def take(self) -> Ready[Q]:
        """The next question, waited for."""
        if not self._current:
            decoded = next(self._videos)
            group = sorted(self._waiting.popleft(), key=lambda numbered: (self._order(numbered[1]), numbered[0]))
            self._current.extend(Ready(position, asked, decoded.video, decoded.error) for position, asked in group)
        return self._current.popleft()
