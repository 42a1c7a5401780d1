"""Rows of `sfllava batch` through engines on a Ray cluster.

Ray Data is not used. Its vLLM stage decodes a video for every question about it and sends the frames, 17 MB for 50,
through the object store each time, and it has no place for a question's own options. Its actors get a batch at a time,
and an engine runs dry at the end of each. Here a video travels by its path, with all its questions, in a queue, and
every replica draws the next as its engine has room.
"""

import logging
import os
import time
from collections.abc import Iterator
from typing import Any

from sfllava_plugin._environment import install_hint
from sfllava_plugin.batch import Id, Row
from sfllava_plugin.engine.batch_rows import answer_as_drawn
from sfllava_plugin.engine.devices import devices_of

#: Answers that come faster are sent together.
_SECONDS_BETWEEN_SENDINGS = 0.2


def answer_on_ray(
    rows: list[Row],
    model: str,
    engine_arguments: dict[str, Any],
    *,
    address: str,
    replicas: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Rows of answers as they finish, from engines on a Ray cluster.

    Args:
        address: the cluster's, or ``local`` for one on this machine.
        replicas: engines; by default as many as the cluster's GPUs are enough for, or one where there are none.

    Raises:
        ValueError: ray is not installed, the cluster cannot be reached, or every replica died.
    """
    # Ray's own remarks about its actors; what goes wrong with a question comes back as its answer.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ValueError(f"ray is not installed: {install_hint('ray')}") from error
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error", include_dashboard=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ValueError(f"no Ray cluster at {address}: {error}") from error
    try:
        yield from _answers(ray, rows, _start(ray, model, engine_arguments, replicas))
    finally:
        ray.shutdown()


def _start(ray, model: str, engine_arguments: dict[str, Any], replicas: int | None) -> list:
    devices = devices_of(engine_arguments)
    gpus = int(ray.cluster_resources().get("GPU", 0))
    # A replica that dies starts again; what it had drawn is asked in the next round.
    replica = ray.remote(_Replica).options(num_gpus=devices if gpus else 0, num_cpus=1, max_restarts=-1)
    return [replica.remote(model, engine_arguments) for _ in range(replicas or max(1, gpus // devices))]


def _answers(ray, rows: list[Row], replicas: list) -> Iterator[dict[str, Any]]:
    """Answers in rounds: in each, what no replica has answered yet is put into a queue."""
    left = {row.id: row for row in rows}
    while left:
        before = len(left)
        for answer in _round(ray, left, replicas):
            if left.pop(answer["id"], None):
                yield answer
        if len(left) == before:
            raise ValueError(f"every replica on the Ray cluster died before it answered any of {before} questions")


def _round(ray, left: dict[Id, Row], replicas: list) -> Iterator[dict[str, Any]]:
    """What the replicas answer until the queue is empty and they have finished or died."""
    from ray.exceptions import RayActorError, RayTaskError
    from ray.util.queue import Queue

    videos: dict[str, list[Row]] = {}
    for row in left.values():
        videos.setdefault(row.video, []).append(row)
    queue = Queue(actor_options={"num_cpus": 0})
    queue.put_nowait_batch(list(videos.values()))
    streams = [replica.answer.options(num_returns="streaming").remote(queue) for replica in replicas]
    while streams and left:
        [stream], _ = ray.wait(streams, num_returns=1)
        try:
            yield from ray.get(next(stream))
        except (StopIteration, RayActorError):
            streams.remove(stream)
        except RayTaskError as error:
            raise error.cause from None
    queue.shutdown()


class _Replica:
    """One engine in an actor."""

    def __init__(self, model: str, engine_arguments: dict[str, Any]):
        # Several engines on one machine without GPUs would all choose the same cores.
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        self._model, self._engine_arguments, self._runner = model, engine_arguments, None

    def answer(self, queue) -> Iterator[list[dict[str, Any]]]:
        """Rows of answers, several at once, to what it draws from ``queue`` until that is empty."""
        if self._runner is None:
            # Not when the actor is made: errors of the engine's start come back whole from here.
            from sfllava_plugin.engine.runner import Runner

            self._runner = Runner(self._model, self._engine_arguments)
        answers, sent = [], 0.0
        for answer in answer_as_drawn(self._runner, _drawn(queue)):
            answers.append(answer)
            if (now := time.monotonic()) - sent > _SECONDS_BETWEEN_SENDINGS:
                yield answers
                answers, sent = [], now
        yield answers


def _drawn(queue) -> Iterator[list[Row]]:
    from ray.util.queue import Empty

    while True:
        try:
            yield queue.get_nowait()
        except Empty:
            return
