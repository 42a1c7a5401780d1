"""The questions of a job in the order in which the engine gets them: video after video, as these are decoded.

Of the questions whose prompts are alike up to and past the video, the first leads: the others follow when the engine
has read it, and find its tokens in the prefix cache. Handed over together, each might begin before there is anything to
find, and read the video anew.

It knows which question belongs to which video, and which of them can be had without waiting. It does not know what a
question is made of, or engines.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from sfllava_plugin.engine.lookahead import Lookahead
from sfllava_plugin.limits import DEFAULTS, Limits

Q = TypeVar("Q")


@dataclass(frozen=True)
class Ready(Generic[Q]):
    """A question by its position in the job, and its decoded video or why there is none.

    One that ``leads`` is the first of its kind on its video; others may wait for it.
    """

    position: int
    question: Q
    video: Any
    error: Exception | None
    leads: bool = False


class ReadyQuestions(Generic[Q]):
    """Groups questions by video, the videos in the order in which they first occur; a context manager.

    Args:
        video_of: a question's video.
        beginning_of: what the prompts of two questions on a video must have in common to share it in the prefix cache;
            it can be sorted.
        read: decodes a video, in threads.
        limits: how many at once, and how many ahead.
    """

    def __init__(
        self,
        questions: Iterable[Q],
        video_of: Callable[[Q], str],
        beginning_of: Callable[[Q], Any],
        read: Callable[[str], Any],
        limits: Limits = DEFAULTS,
    ):
        videos: dict[str, list[tuple[int, Q]]] = {}
        for position, question in enumerate(questions):
            videos.setdefault(video_of(question), []).append((position, question))
        self._beginning_of = beginning_of
        self._videos = Lookahead(list(videos), read, limits)
        self._not_begun = deque(videos.values())
        self._leading: deque[Ready[Q]] = deque()
        self._held: dict[int, deque[Ready[Q]]] = {}
        self._following: deque[Ready[Q]] = deque()

    def __enter__(self) -> "ReadyQuestions[Q]":
        self._videos.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._videos.__exit__(*exception)

    def __bool__(self) -> bool:
        """Whether there are any to take: followers are not until they are released."""
        return bool(self._following or self._leading or self._not_begun)

    @property
    def begins_video(self) -> bool:
        """Whether the next question is the first on its video."""
        return not self._following and not self._leading

    @property
    def at_hand(self) -> bool:
        """Whether the next question can be had without waiting for a decoder."""
        return bool(self._following or self._leading) or self._videos.ready

    def take(self) -> Ready[Q]:
        """The next question, waited for."""
        if self._following:
            return self._following.popleft()
        if not self._leading:
            self._begin_video()
        return self._leading.popleft()

    def follow(self, position: int) -> None:
        """The question taken at ``position`` has been read: those that wait for it can be taken."""
        self._following.extend(self._held.pop(position, ()))

    def pass_lead(self, position: int) -> None:
        """The question taken at ``position`` will never be read: the next of those that wait for it leads."""
        if held := self._held.pop(position, None):
            self._lead(held)

    def _begin_video(self) -> None:
        decoded = next(self._videos)
        alike: dict[Any, deque[Ready[Q]]] = {}
        for position, question in self._not_begun.popleft():
            ready = Ready(position, question, decoded.video, decoded.error)
            alike.setdefault(self._beginning_of(question), deque()).append(ready)
        for _, questions in sorted(alike.items()):
            self._lead(questions)

    def _lead(self, questions: deque[Ready[Q]]) -> None:
        first = replace(questions.popleft(), leads=True)
        self._leading.append(first)
        if questions:
            self._held[first.position] = questions
