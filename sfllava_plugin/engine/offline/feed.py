"""Feed one job through the engine's loop, within admission limits.

The loop is LLMEngine's, not AsyncLLM's. Either overlaps with decoding, which runs in threads of ours, and with an
accelerator either runs the engine in a process of its own. On two cores and the small model, 2000 questions ran at 366
to 388 a second with this loop in one process, at 352 with this loop and the engine in another process, and at 333 with
AsyncLLM, which needs the other process and takes 25 seconds longer to start.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vllm import RequestOutput

from sfllava_plugin.engine.offline.lifetime import Engine
from sfllava_plugin.engine.offline.order import FailedItem, QuestionQueue
from sfllava_plugin.engine.offline.plan import Failed, Item, Medium
from sfllava_plugin.engine.offline.questions import Answer, Question, Score
from sfllava_plugin.engine.offline.scoring import Scoring
from sfllava_plugin.engine.offline.sharing import Prompt
from sfllava_plugin.video.errors import DecoderFault


@dataclass(frozen=True)
class Bounds:
    """Admission limits, derived from the KV cache, the encoder cache and `max_num_seqs`.

    vLLM evicts the least recently used entries of either cache, and admits requests in order. If all videos in the
    engine fit into the caches together, each stays there until its followers are admitted.

    Attributes:
        questions: in the engine at once; more than it runs at once, to keep it busy.
        cache_tokens: in the KV cache, for all questions in the engine.
        leading: questions whose video the engine has not read yet; enough for two of its steps.
        embeddings: videos whose embeddings the encoder cache must hold at once.
    """

    questions: int
    cache_tokens: int
    leading: int
    embeddings: int


@dataclass(frozen=True)
class _Running:
    """A question in the engine, with the result of ``submit``."""

    item: Item
    submitted: Scoring | None
    cache_tokens: int


class Feeder:
    """An iterator which submits queued questions and yields their results.

    Args:
        submit: submits a question under its position; its result is passed on to ``finish``.
        finish: makes the result of a question from the result of ``submit`` and the finished output. None means that it
            submitted another request under the same position.
        cache_tokens: the tokens that a question takes in the KV cache.

    ``submit`` and ``finish`` raise ValueError or OSError for an invalid question; a video that could not be read brings
    its own error.
    """

    def __init__(
        self,
        engine: Engine,
        queue: QuestionQueue[Question, Medium, Prompt],
        bounds: Bounds,
        submit: Callable[[Item], Scoring | None],
        finish: Callable[[Item, Scoring | None, RequestOutput], Answer | Score | None],
        cache_tokens: Callable[[Item], int],
    ):
        self._engine, self._queue, self._bounds = engine, queue, bounds
        self._submit, self._finish, self._cache_tokens = submit, finish, cache_tokens
        self._running: dict[int, _Running] = {}
        self._leading: set[int] = set()

    def __iter__(self) -> Iterator[tuple[Item | Failed, Answer | Score | Exception]]:
        """Yield every question of the job with its result or its error."""
        while self._queue or self._running:
            # Block on a decoder only if the engine has nothing to do.
            while self._queue and self._has_room() and (self._queue.has_next_now or not self._running):
                yield from self._admit(self._queue.pop())
            yield from self._step()

    def stop(self) -> None:
        """Abort the questions that the engine has not finished."""
        self._engine.abort_request([str(position) for position in self._running])

    def _has_room(self) -> bool:
        """Tell whether the limits admit the next question."""
        if len(self._running) >= self._bounds.questions:
            return False
        if not self._queue.next_leads or not self._running:
            return True
        if len(self._leading) >= self._bounds.leading:
            return False
        if sum(one.cache_tokens for one in self._running.values()) >= self._bounds.cache_tokens:
            return False
        # A second leader on a video reuses the embeddings of the first.
        return not self._queue.begins_video or self._embeddings_in_use() < self._bounds.embeddings

    def _embeddings_in_use(self) -> int:
        """Count the videos with embeddings to compute or to reuse."""
        return len(
            {
                id(one.item.video)
                for position, one in self._running.items()
                if one.item.needs_embeddings or position in self._leading
            }
        )

    def _admit(self, item: Item | Failed) -> Iterator[tuple[Item | Failed, Exception]]:
        """Submit a question; yield it if that fails."""
        try:
            if isinstance(item, FailedItem):
                raise item.error
            self._running[item.position] = _Running(item, self._submit(item), self._cache_tokens(item))
        except (ValueError, OSError, DecoderFault) as error:
            self._queue.promote_next(item.position)
            yield item, error
        else:
            if item.leads:
                self._leading.add(item.position)

    def _step(self) -> Iterator[tuple[Item, Answer | Score | Exception]]:
        """Run one step of the engine and yield finished questions."""
        for output in self._engine.step() if self._running else ():
            position = int(output.request_id)
            if position in self._leading:
                self._leading.discard(position)
                self._queue.release_followers(position)
            if output.finished and (result := self._result(position, output)) is not None:
                yield self._running.pop(position).item, result

    def _result(self, position: int, output: RequestOutput) -> Answer | Score | Exception | None:
        one = self._running[position]
        try:
            return self._finish(one.item, one.submitted, output)
        except (ValueError, OSError) as error:
            return error
