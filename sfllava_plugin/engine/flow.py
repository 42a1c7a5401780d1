"""One job on its way through the engine: when the next question goes in, and what comes out.

It knows vLLM's engine loop and keeps it fed within bounds. It does not know prompts, videos or answers: it is given
functions for these.

The loop is LLMEngine's, not AsyncLLM's. Decoding overlaps with the engine in either, for it runs in threads of ours;
with an accelerator the engine has a process of its own in either. On two cores, 2000 questions on the small model went
at 366 to 388 a second by this loop in one process, at 352 by this loop with the engine in another, at 333 by AsyncLLM,
which cannot do without the other process and starts 25 seconds later.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from vllm import RequestOutput
from vllm.v1.engine.llm_engine import LLMEngine

from sfllava_plugin.engine.ready import Ready, ReadyQuestions


@dataclass(frozen=True)
class Bounds:
    """How much the engine is given at once.

    Attributes:
        questions: in the engine. More than it runs at once, so that it never waits for us.
        videos: with questions in the engine: each keeps its frames in memory.
        leading: questions whose video the engine has not read yet. Enough for two of its steps, and not so many that
            their videos push those of the questions that follow out of the KV cache.
    """

    questions: int
    videos: int
    leading: int


class Flow:
    """Gives the engine questions as they are ready, and yields what it finishes.

    Args:
        ask: hands a question to the engine under its position, and returns what ``finish`` wants to know of it.
        finish: what a question comes to, from what ``ask`` returned and the finished output; None if it handed the
            engine another request under the same position.

    Both raise ValueError or OSError if the question cannot be asked.
    """

    def __init__(
        self,
        engine: LLMEngine,
        ready: ReadyQuestions,
        bounds: Bounds,
        ask: Callable[[Ready], Any],
        finish: Callable[[Ready, Any, RequestOutput], Any],
    ):
        self._engine, self._ready, self._bounds, self._ask, self._finish = engine, ready, bounds, ask, finish
        self._asked: dict[int, tuple[Ready, Any]] = {}
        self._leading: set[int] = set()

    def __iter__(self) -> Iterator[tuple[Ready, Any | Exception]]:
        """Every question of the job with what it comes to, or why it could not be asked."""
        while self._ready or self._asked:
            # The engine gets work as soon as it is decoded, and waits for a decoder only when it has nothing.
            while self._ready and self._has_room() and (self._ready.at_hand or not self._asked):
                yield from self._hand_over(self._ready.take())
            yield from self._step()

    def stop(self) -> None:
        """Drop what the engine has not finished."""
        self._engine.abort_request([str(position) for position in self._asked])

    def _has_room(self) -> bool:
        """Whether the next question may go to the engine."""
        if len(self._asked) >= self._bounds.questions:
            return False
        if not self._ready.begins_video:
            return True
        videos = {id(ready.video) for ready, _ in self._asked.values()}
        return len(self._leading) < self._bounds.leading and len(videos) < self._bounds.videos

    def _hand_over(self, ready: Ready) -> Iterator[tuple[Ready, Exception]]:
        """Ask a question; it comes back at once if it cannot be asked."""
        try:
            if ready.error:
                raise ready.error
            self._asked[ready.position] = ready, self._ask(ready)
        except (ValueError, OSError) as error:
            self._ready.pass_lead(ready.position)
            yield ready, error
        else:
            if ready.leads:
                self._leading.add(ready.position)

    def _step(self) -> Iterator[tuple[Ready, Any]]:
        """One step of the engine, and the questions that it finished."""
        for output in self._engine.step() if self._asked else ():
            position = int(output.request_id)
            if position in self._leading:
                self._leading.discard(position)
                self._ready.follow(position)
            if output.finished and (result := self._result(position, output)) is not None:
                ready, _ = self._asked.pop(position)
                yield ready, result

    def _result(self, position: int, output: RequestOutput) -> Any | None:
        try:
            return self._finish(*self._asked[position], output)
        except (ValueError, OSError) as error:
            return error
