"""Rows of `sfllava batch` through engines on a Ray cluster.

Ray Data is not used. Its vLLM stage decodes a video for every question about it and sends the frames, 17 MB for 50,
through the object store each time, and it has no place for a question's own options. Its actors get a batch at a time,
and an engine runs dry at the end of each. Here a video travels by its path, with all its questions, in a queue, and
every replica draws the next as its engine has room.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from sfllava_plugin._environment import install_hint
from sfllava_plugin.batch.files import Id, Row
from sfllava_plugin.engine.offline.batch_rows import answer_as_drawn
from sfllava_plugin.engine.offline.devices import devices_of

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
        devices = devices_of(engine_arguments)
        gpus = int(ray.cluster_resources().get("GPU", 0))
        replica = ray.remote(_Replica).options(num_gpus=devices if gpus else 0, num_cpus=1)
        start = partial(replica.remote, model, engine_arguments)
        yield from _answers(ray, rows, start, replicas or max(1, gpus // devices))
    finally:
        ray.shutdown()


def _answers(ray, rows: list[Row], start: Callable[[], Any], count: int) -> Iterator[dict[str, Any]]:
    """Answers in rounds: in each, what no replica has answered yet is put into a queue.

    Args:
        start: starts a replica.
    """
    left = {row.id: row for row in rows}
    replicas = [start() for _ in range(count)]
    while left:
        before = len(left)
        for answer in _round(ray, left, replicas, start):
            if left.pop(answer["id"], None):
                yield answer
        if len(left) == before:
            raise ValueError(f"every replica on the Ray cluster died before it answered any of {before} questions")


def _round(ray, left: dict[Id, Row], replicas: list, start: Callable[[], Any]) -> Iterator[dict[str, Any]]:
    """What the replicas answer until the queue is empty and they have finished.

    One that dies is replaced. What it had drawn is left for the next round.
    """
    from ray.exceptions import RayActorError, RayTaskError
    from ray.util.queue import Queue

    videos: dict[str, list[Row]] = {}
    for row in left.values():
        videos.setdefault(row.video, []).append(row)
    queue = Queue(actor_options={"num_cpus": 0})
    queue.put_nowait_batch(list(videos.values()))

    def stream_of(place: int):
        return replicas[place].answer.options(num_returns="streaming").remote(queue)

    streams, useful = {stream_of(place): place for place in range(len(replicas))}, set()
    while streams and left:
        [stream], _ = ray.wait(list(streams), num_returns=1)
        try:
            answers = ray.get(next(stream))
        except StopIteration:
            del streams[stream]
        except RayActorError:
            replicas[place := streams.pop(stream)] = start()
            # Those that die at once would do so again and again.
            if place in useful:
                useful.remove(place)
                streams[stream_of(place)] = place
        except RayTaskError as error:
            raise error.cause from None
        else:
            useful.add(streams[stream])
            yield from answers
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
            from sfllava_plugin.engine.offline.runner import Runner

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
