"""Feed one job through the engine's loop, within bounds.

The loop is LLMEngine's, not AsyncLLM's. Decoding overlaps with the engine in either, for it runs in threads of ours;
with an accelerator the engine has a process of its own in either. On two cores, 2000 questions on the small model went
at 366 to 388 a second by this loop in one process, at 352 by this loop with the engine in another, at 333 by AsyncLLM,
which cannot do without the other process and starts 25 seconds later.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from vllm import RequestOutput

from sfllava_plugin.engine.offline.lifetime import Engine
from sfllava_plugin.engine.offline.order import Ready, ReadyQuestions
from sfllava_plugin.video.errors import DecoderFault


@dataclass(frozen=True)
class Bounds:
    """Admission limits, derived from the KV cache, the encoder cache and `max_num_seqs`.

    vLLM drops what was used longest ago from either cache, and admits requests in order. So a video stays cached until
    its followers are admitted, if all videos in the engine fit together.

    Attributes:
        questions: in the engine; more than it runs at once, so that it never runs dry.
        cache_tokens: in the KV cache, for all questions in the engine.
        leading: questions whose video the engine has not read yet; enough for two of its steps.
        embeddings: videos whose embeddings the encoder cache must hold at once.
    """

    questions: int
    cache_tokens: int
    leading: int
    embeddings: int


@dataclass(frozen=True)
class _InEngine:
    """A question in the engine, what ``ask`` returned for it, and its tokens in the KV cache."""

    ready: Ready
    asked: Any
    cache_tokens: int


class Flow:
    """Gives the engine questions as they become ready, and yields what it finishes.

    Args:
        ask: hands a question to the engine under its position, and returns what ``finish`` needs to know of it.
        finish: the result of a question, from what ``ask`` returned and the finished output; None if it handed the
            engine another request under the same position.
        cache_tokens: the tokens that a question takes in the KV cache.

    ``ask`` and ``finish`` raise ValueError or OSError if the question cannot be asked; a video that was not read brings
    its own error.
    """

    def __init__(
        self,
        engine: Engine,
        ready: ReadyQuestions,
        bounds: Bounds,
        ask: Callable[[Ready], Any],
        finish: Callable[[Ready, Any, RequestOutput], Any],
        cache_tokens: Callable[[Ready], int],
    ):
        self._engine, self._ready, self._bounds, self._ask, self._finish = engine, ready, bounds, ask, finish
        self._cache_tokens = cache_tokens
        self._running: dict[int, _InEngine] = {}
        self._leading: set[int] = set()

    def __iter__(self) -> Iterator[tuple[Ready, Any | Exception]]:
        """Every question of the job with its result, or the reason why it could not be asked."""
        while self._ready or self._running:
            # The engine gets work as soon as it is decoded, and waits for a decoder only when it has nothing.
            while self._ready and self._has_room() and (self._ready.has_next_now or not self._running):
                yield from self._hand_over(self._ready.pop())
            yield from self._step()

    def stop(self) -> None:
        """Drop what the engine has not finished."""
        self._engine.abort_request([str(position) for position in self._running])

    def _has_room(self) -> bool:
        """Whether the next question may go to the engine."""
        if len(self._running) >= self._bounds.questions:
            return False
        if not self._ready.next_leads or not self._running:
            return True
        if len(self._leading) >= self._bounds.leading:
            return False
        if sum(one.cache_tokens for one in self._running.values()) >= self._bounds.cache_tokens:
            return False
        # A second leader finds its video's embeddings where the first has put them.
        return not self._ready.begins_video or self._embeddings_in_use() < self._bounds.embeddings

    def _embeddings_in_use(self) -> int:
        """Videos whose embeddings the engine computes now or will need again."""
        return len(
            {
                id(one.ready.video)
                for position, one in self._running.items()
                if one.ready.needs_embeddings or position in self._leading
            }
        )

    def _hand_over(self, ready: Ready) -> Iterator[tuple[Ready, Exception]]:
        """Ask a question; it comes back at once if it cannot be asked."""
        try:
            if ready.error:
                raise ready.error
            self._running[ready.position] = _InEngine(ready, self._ask(ready), self._cache_tokens(ready))
        except (ValueError, OSError, DecoderFault) as error:
            self._ready.promote_next(ready.position)
            yield ready, error
        else:
            if ready.leads:
                self._leading.add(ready.position)

    def _step(self) -> Iterator[tuple[Ready, Any]]:
        """One step of the engine, and the questions that it finished."""
        for output in self._engine.step() if self._running else ():
            position = int(output.request_id)
            if position in self._leading:
                self._leading.discard(position)
                self._ready.release_followers(position)
            if output.finished and (result := self._result(position, output)) is not None:
                yield self._running.pop(position).ready, result

    def _result(self, position: int, output: RequestOutput) -> Any | None:
        one = self._running[position]
        try:
            return self._finish(one.ready, one.asked, output)
        except (ValueError, OSError) as error:
            return error
