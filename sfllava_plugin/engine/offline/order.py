"""Order a job's questions for the engine, grouped by video.

Of the questions whose prompts are alike up to and including the video, the first leads; the others wait until the
engine has read it, and find its tokens in the prefix cache. Handed over together, each might start before the cache
holds anything, and read the video again.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from sfllava_plugin.engine.offline.prefetch import Lookahead
from sfllava_plugin.limits import DEFAULTS, Limits

Q = TypeVar("Q")
P = TypeVar("P")
#: A question with its position in the job.
Numbered = tuple[int, Q]


@dataclass(frozen=True)
class Ready(Generic[Q, P]):
    """A question with its decoded video and its prompt, or with the reason why it cannot be asked.

    Attributes:
        position: of the question in the job.
        leads: the first question with this beginning on its video. The others wait until its video is in the prefix
            cache.
        needs_embeddings: whether questions on the video will need its embeddings after it has been read.
    """

    position: int
    question: Q
    video: Any = None
    prompt: P | None = None
    error: Exception | None = None
    leads: bool = False
    needs_embeddings: bool = False


class Planner(Protocol[Q, P]):
    """What `ReadyQuestions` asks about questions and videos."""

    def read(self, path: str) -> Any:
        """Decode a video; called in threads."""

    def prompt(self, question: Q) -> P:
        """Write the prompt of a question; raises ValueError if it cannot be asked."""

    def beginning(self, prompt: P) -> Any:
        """What prompts must have in common to share a video in the prefix cache; hashable."""

    def needs_embeddings(self, video: Any, prompts: Sequence[P]) -> bool:
        """Whether the later of these prompts, alike in their beginning, need the video's embeddings again."""


def by_video(questions: Iterable[Q], video_of: Callable[[Q], str]) -> Iterator[list[Numbered[Q]]]:
    """Number questions and group them by video, in the order in which the videos first occur."""
    videos: dict[str, list[Numbered[Q]]] = {}
    for position, question in enumerate(questions):
        videos.setdefault(video_of(question), []).append((position, question))
    return iter(videos.values())


class ReadyQuestions(Generic[Q, P]):
    """Questions in the order of their videos; a context manager.

    Args:
        groups: questions with their positions in the job, each group on one video; drawn as they are needed.
        video_of: the path of a question's video.
        planner: reads videos, writes prompts, and knows what they share.
        limits: videos decoded at once, and ahead.
    """

    def __init__(
        self,
        groups: Iterable[Sequence[Numbered[Q]]],
        video_of: Callable[[Q], str],
        planner: Planner[Q, P],
        limits: Limits = DEFAULTS,
    ):
        self._groups, self._video_of, self._planner = groups, video_of, planner
        self._videos = Lookahead(self._drawn(), planner.read, limits)
        self._not_begun: deque[Sequence[Numbered[Q]]] = deque()
        self._leading: deque[Ready[Q, P]] = deque()
        self._held: dict[int, deque[Ready[Q, P]]] = {}
        self._following: deque[Ready[Q, P]] = deque()

    def __enter__(self) -> "ReadyQuestions[Q, P]":
        self._videos.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._videos.__exit__(*exception)

    def __bool__(self) -> bool:
        """Whether any can be taken; followers cannot until they are released."""
        return bool(self._following or self._leading or self._not_begun)

    @property
    def begins_video(self) -> bool:
        """Whether the next question is the first on its video."""
        return not self._following and not self._leading

    @property
    def next_leads(self) -> bool:
        """Whether the next question leads, on its video or on one that has begun."""
        return not self._following

    @property
    def has_next_now(self) -> bool:
        """Whether the next question is there without waiting for a decoder."""
        return bool(self._following or self._leading) or self._videos.ready

    def pop(self) -> Ready[Q, P]:
        """Take the next question; waits for its video."""
        while self.begins_video:
            self._begin_video()
        return self._following.popleft() if self._following else self._leading.popleft()

    def release_followers(self, position: int) -> None:
        """Let those go that waited for the question at ``position``: the engine has read its video."""
        self._following.extend(self._held.pop(position, ()))

    def promote_next(self, position: int) -> None:
        """Let the next one lead: the engine will never read the question at ``position``."""
        if held := self._held.pop(position, None):
            self._lead(held)

    def _drawn(self) -> Iterator[str]:
        """The video of each group, as the lookahead draws it; there is one as long as a group is left."""
        for group in self._groups:
            self._not_begun.append(group)
            yield self._video_of(group[0][1])

    def _begin_video(self) -> None:
        decoded = next(self._videos)
        alike: dict[Any, deque[Ready[Q, P]]] = {}
        for position, question in self._not_begun.popleft():
            ready = self._ready(position, question, decoded.video, decoded.error)
            if ready.error:
                self._following.append(ready)
            else:
                alike.setdefault(self._planner.beginning(ready.prompt), deque()).append(ready)
        for questions in alike.values():
            prompts = [ready.prompt for ready in questions]
            # A second leader reads the same video, too.
            needed = len(alike) > 1 or self._planner.needs_embeddings(decoded.video, prompts)
            self._lead(deque(replace(ready, needs_embeddings=needed) for ready in questions))

    def _ready(self, position: int, question: Q, video: Any, error: Exception | None) -> Ready[Q, P]:
        if error is None:
            try:
                return Ready(position, question, video, self._planner.prompt(question))
            except ValueError as problem:
                error = problem
        return Ready(position, question, error=error)

    def _lead(self, questions: deque[Ready[Q, P]]) -> None:
        first = replace(questions.popleft(), leads=True)
        self._leading.append(first)
        if questions:
            self._held[first.position] = questions
