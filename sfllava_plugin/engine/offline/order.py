"""Order a job's questions for the engine, grouped by video.

Questions on one video whose prompts are equal up to and including the video share a prefix. The first of them leads;
its followers wait until the engine has read the video, and then find its tokens in the prefix cache. Submitted
together, all of them could start before the cache holds anything, and each would read the video again.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from sfllava_plugin.engine.offline.prefetch import Prefetched, Prefetcher, Unreadable
from sfllava_plugin.engine.offline.questions import Source
from sfllava_plugin.limits import DEFAULTS, Limits

Q = TypeVar("Q")
Q_contra = TypeVar("Q_contra", contravariant=True)
V = TypeVar("V")
P = TypeVar("P")
#: A question with its position in the job.
Numbered = tuple[int, Q]


@dataclass(frozen=True)
class QueueItem(Generic[Q, V, P]):
    """A question with its decoded video and prompt.

    Attributes:
        position: of the question in the job.
        leads: it is the first question with this prefix on its video.
        needs_embeddings: questions on the video need its embeddings again after it has been read.
    """

    position: int
    question: Q
    video: V
    prompt: P
    leads: bool = False
    needs_embeddings: bool = False


@dataclass(frozen=True)
class FailedItem(Generic[Q]):
    """A question whose video cannot be read, or which is invalid itself."""

    position: int
    question: Q
    error: Exception


class Planner(Protocol[Q_contra, V, P]):
    """The parts of a job that `QuestionQueue` leaves to others."""

    def read(self, source: Source) -> V:
        """Decode a video; called in threads."""

    def prompt(self, question: Q_contra) -> P:
        """Write a question's prompt; raise ValueError if the question is invalid."""

    def prefix(self, prompt: P) -> Hashable:
        """Return a prefix; prompts with equal ones share the video."""

    def needs_embeddings(self, video: V, prompts: Sequence[P]) -> bool:
        """Tell whether prompts with one prefix need the video's embeddings repeatedly."""


def by_video(questions: Iterable[Q], video_of: Callable[[Q], Source]) -> Iterator[list[Numbered[Q]]]:
    """Number questions and group them by video, in order of first occurrence."""
    videos: dict[Source, list[Numbered[Q]]] = {}
    for position, question in enumerate(questions):
        videos.setdefault(video_of(question), []).append((position, question))
    return iter(videos.values())


class QuestionQueue(Generic[Q, V, P]):
    """A queue of questions, grouped by video; a context manager.

    Args:
        groups: numbered questions, each group on one video; consumed lazily.
        video_of: the path of a question's video.
        planner: reads videos, writes prompts and compares them.
        limits: videos decoded at once, and ahead.
    """

    def __init__(
        self,
        groups: Iterable[Sequence[Numbered[Q]]],
        video_of: Callable[[Q], Source],
        planner: Planner[Q, V, P],
        limits: Limits = DEFAULTS,
    ):
        self._groups, self._video_of, self._planner = groups, video_of, planner
        self._videos = Prefetcher(self._paths(), planner.read, limits)
        self._not_begun: deque[Sequence[Numbered[Q]]] = deque()
        self._leading: deque[QueueItem[Q, V, P]] = deque()
        self._held: dict[int, deque[QueueItem[Q, V, P]]] = {}
        self._following: deque[QueueItem[Q, V, P] | FailedItem[Q]] = deque()

    def __enter__(self) -> "QuestionQueue[Q, V, P]":
        self._videos.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._videos.__exit__(*exception)

    def __bool__(self) -> bool:
        """Return whether `pop` would return a question; held followers do not count."""
        return bool(self._following or self._leading or self._not_begun)

    @property
    def begins_video(self) -> bool:
        """True if the next question is the first on its video."""
        return not self._following and not self._leading

    @property
    def next_leads(self) -> bool:
        """True if the next question leads, on a new video or not."""
        return not self._following

    @property
    def has_next_now(self) -> bool:
        """True if `pop` would return without waiting for a decoder."""
        return bool(self._following or self._leading) or self._videos.has_next_now

    def pop(self) -> QueueItem[Q, V, P] | FailedItem[Q]:
        """Remove and return the next question; blocks until its video is decoded."""
        while self.begins_video:
            self._begin_video()
        return self._following.popleft() if self._following else self._leading.popleft()

    def release_followers(self, position: int) -> None:
        """Queue the followers of a leader whose video the engine has read."""
        self._following.extend(self._held.pop(position, ()))

    def promote_next(self, position: int) -> None:
        """Make the next follower lead, after a leader that failed."""
        if held := self._held.pop(position, None):
            self._lead(held)

    def _paths(self) -> Iterator[Source]:
        """Yield the video of each group, and queue the group."""
        for group in self._groups:
            self._not_begun.append(group)
            yield self._video_of(group[0][1])

    def _begin_video(self) -> None:
        decoded = next(self._videos)
        by_prefix: dict[Hashable, deque[QueueItem[Q, V, P]]] = {}
        for position, question in self._not_begun.popleft():
            item = self._item(position, question, decoded)
            if isinstance(item, FailedItem):
                self._following.append(item)
            else:
                by_prefix.setdefault(self._planner.prefix(item.prompt), deque()).append(item)
        for items in by_prefix.values():
            prompts = [item.prompt for item in items]
            # A second leader on the video reads it too.
            needed = len(by_prefix) > 1 or self._planner.needs_embeddings(items[0].video, prompts)
            self._lead(deque(replace(item, needs_embeddings=needed) for item in items))

    def _item(
        self, position: int, question: Q, decoded: Prefetched[V] | Unreadable
    ) -> QueueItem[Q, V, P] | FailedItem[Q]:
        if isinstance(decoded, Unreadable):
            return FailedItem(position, question, decoded.error)
        try:
            return QueueItem(position, question, decoded.video, self._planner.prompt(question))
        except ValueError as error:
            return FailedItem(position, question, error)

    def _lead(self, items: deque[QueueItem[Q, V, P]]) -> None:
        first = replace(items.popleft(), leads=True)
        self._leading.append(first)
        if items:
            self._held[first.position] = items
