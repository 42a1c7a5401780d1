"""Time the runner's stages and measure its memory.

This wraps methods of the runner and of its engine.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from benchmarks.timing import Clock, now
from sfllava_plugin.engine.offline import Runner

#: Runs in threads, beside the rest.
DECODING = "decode + resize"
PREPROCESSING, TOWER, PREFILL, GENERATION = "preprocess", "tower", "prefill", "generation"
#: The stages inside an engine's steps.
ENGINE = (TOWER, PREFILL, GENERATION)
#: Ways of doing a job; see jobs.py.
WAYS = ("plain", "one by one", "ours")
_SAMPLES_A_SECOND = 20


@contextmanager
def watched(runner: Runner, model) -> Iterator[Clock]:
    """Add up the seconds of every stage inside the context.

    Args:
        model: the runner's model; None if it is in another process, where only decoding and preprocessing are timed.
    """
    clock = Clock()
    replaced = [
        (runner._planner, "read", clock.around(DECODING, runner._planner.read)),
        (runner, "_submit", clock.around(PREPROCESSING, runner._submit)),
    ]
    if model is not None:
        replaced += _inside_engine(clock, runner, model)
    for owner, method, function in replaced:
        object.__setattr__(owner, method, function)
    try:
        yield clock
    finally:
        for owner, method, _ in replaced:
            object.__delattr__(owner, method)


def _inside_engine(clock: Clock, runner: Runner, model) -> list[tuple[Any, str, Callable]]:
    """List the methods to replace in an engine of this process."""
    engine = runner.engine.llm_engine
    scheduler = engine.engine_core.engine_core.scheduler
    schedule, step = scheduler.schedule, engine.step
    reads_prompts = False

    def noted_schedule(*args):
        nonlocal reads_prompts
        output = schedule(*args)
        # A step that reads any part of a prompt counts as prefill.
        reads_prompts = any(tokens > 1 for tokens in output.num_scheduled_tokens.values())
        return output

    def timed_step():
        start, tower = now(), clock.seconds.get(TOWER, 0.0)
        outputs = step()
        in_tower = clock.seconds.get(TOWER, 0.0) - tower
        clock.add(PREFILL if reads_prompts else GENERATION, now() - start - in_tower)
        return outputs

    return [
        (model, "embed_multimodal", clock.around(TOWER, model.embed_multimodal)),
        (scheduler, "schedule", noted_schedule),
        (engine, "step", timed_step),
    ]


class PeakMemory:
    """Measures this process's peak resident memory inside the context, in GB."""

    def __enter__(self) -> "PeakMemory":
        self._process, self._over = psutil.Process(), threading.Event()
        self.gigabytes = 0.0
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            self.gigabytes = max(self.gigabytes, self._process.memory_info().rss / 1e9)
            if self._over.wait(1 / _SAMPLES_A_SECOND):
                return
