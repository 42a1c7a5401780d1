"""Answer rows of `sfllava batch`, in this process or on Ray.

Ray Data is not used. Its vLLM stage decodes a video once per question, sends the frames (17 MB for 50) through the
object store each time, and has no place for a question's own options. Its actors get one batch at a time, and the
engine runs dry at the end of each. Here a queue holds the paths of the videos, each with all of its questions, and
every replica takes the next one when its engine has room.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sfllava_plugin._environment import install_hint
from sfllava_plugin.batch.files import Id, Row
from sfllava_plugin.engine.offline.devices import devices_of
from sfllava_plugin.engine.offline.questions import DEFAULT_MAX_TOKENS, Answer, Failure, Question, Score

if TYPE_CHECKING:
    from ray.util.queue import Queue

    from sfllava_plugin.engine.offline.runner import Runner

#: A replica collects answers for this long before it sends them.
_SECONDS_BETWEEN_SENDS = 0.2


def answer_here(rows: list[Row], model: str, engine_arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Answer rows with one engine in this process, as they finish."""
    from sfllava_plugin.engine.offline.runner import Runner

    return _answer_rows(Runner(model, engine_arguments), rows)


def answer_on_ray(
    rows: list[Row],
    model: str,
    engine_arguments: dict[str, Any],
    *,
    address: str,
    replicas: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Answer rows with engines on a Ray cluster, as they finish.

    Args:
        address: the cluster's, or ``local`` to start one on this machine.
        replicas: the number of engines; by default as many as the cluster has GPUs for, or one without GPUs.

    Raises:
        ValueError: ray is not installed, the cluster cannot be reached, or every replica died.
    """
    # Silences Ray's remarks about its actors. The errors of questions come back as answers.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ValueError(f"ray is not installed: {install_hint('ray')}") from error
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ValueError(f"no Ray cluster at {address}: {error}") from error
    try:
        devices = devices_of(engine_arguments)
        gpus = int(ray.cluster_resources().get("GPU", 0))  # type: ignore[no-untyped-call]  # Ray leaves it untyped
        replica = ray.remote(_Replica).options(num_gpus=devices if gpus else 0, num_cpus=1)
        start = partial(replica.remote, model, engine_arguments)
        yield from _answer_in_rounds(ray, rows, start, replicas or max(1, gpus // devices))
    finally:
        ray.shutdown()


def _answer_in_rounds(
    ray: ModuleType, rows: list[Row], start: Callable[[], Any], count: int
) -> Iterator[dict[str, Any]]:
    """Answer in rounds; each queues the questions still unanswered.

    Args:
        start: starts a replica.
        count: of replicas.
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


def _round(
    ray: ModuleType, left: dict[Id, Row], replicas: list[Any], start: Callable[[], Any]
) -> Iterator[dict[str, Any]]:
    """Yield answers until the queue is empty and every replica has finished.

    A replica that dies is replaced. The questions it had taken are left for the next round.
    """
    from ray.exceptions import RayActorError, RayTaskError
    from ray.util.queue import Queue

    videos: dict[str, list[Row]] = {}
    for row in left.values():
        videos.setdefault(row.video, []).append(row)
    queue = Queue(actor_options={"num_cpus": 0})
    queue.put_nowait_batch(list(videos.values()))

    def stream_of(place: int) -> Any:
        return replicas[place].answer.options(num_returns="streaming").remote(queue)

    streams = {stream_of(place): place for place in range(len(replicas))}
    useful: set[int] = set()
    while streams and left:
        [stream], _ = ray.wait(list(streams), num_returns=1)
        try:
            answers = ray.get(next(stream))
        except StopIteration:
            del streams[stream]
        except RayActorError:
            replicas[place := streams.pop(stream)] = start()
            # A replica that died before it answered anything would die again and again.
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
    """One engine in a Ray actor."""

    def __init__(self, model: str, engine_arguments: dict[str, Any]):
        # Without GPUs, several engines on one machine would all bind to the same cores.
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        self._model, self._engine_arguments = model, engine_arguments
        self._runner: Runner | None = None

    def answer(self, queue: "Queue") -> Iterator[list[dict[str, Any]]]:
        """Yield rows of answers, several at once, until ``queue`` is empty."""
        if self._runner is None:
            # Not in __init__: Ray would hide the error of an engine which does not start.
            from sfllava_plugin.engine.offline.runner import Runner

            self._runner = Runner(self._model, self._engine_arguments)
        answers, sent = [], 0.0
        for answer in _answer_queue(self._runner, _drain(queue)):
            answers.append(answer)
            if (now := time.monotonic()) - sent > _SECONDS_BETWEEN_SENDS:
                yield answers
                answers, sent = [], now
        yield answers


def _drain(queue: "Queue") -> Iterator[list[Row]]:
    from ray.util.queue import Empty

    while True:
        try:
            yield queue.get_nowait()
        except Empty:
            return


def _answer_rows(runner: "Runner", rows: list[Row]) -> Iterator[dict[str, Any]]:
    for position, result in runner.answers(_question_of(row) for row in rows):
        yield _answer_row(rows[position].id, result)


def _answer_queue(runner: "Runner", videos: Iterable[list[Row]]) -> Iterator[dict[str, Any]]:
    """Answer rows grouped by video, and take the groups lazily."""
    ids: dict[int, Id] = {}

    def questions() -> Iterator[list[Question]]:
        count = 0
        for rows in videos:
            ids.update(enumerate((row.id for row in rows), count))
            count += len(rows)
            yield [_question_of(row) for row in rows]

    for position, result in runner.answers_by_video(questions()):
        yield _answer_row(ids.pop(position), result)


def _question_of(row: Row) -> Question:
    return Question(row.video, row.question, row.options, row.max_tokens or DEFAULT_MAX_TOKENS)


def _answer_row(name: Id, result: Answer | Score | Failure) -> dict[str, Any]:
    """One row of the file of answers."""
    if isinstance(result, Failure):
        return {"id": name, "error": " ".join(str(result.error).split())}
    assert isinstance(result, Answer)  # no row has a continuation to score
    return {
        "id": name,
        "text": result.text,
        "answer": result.answer,
        "video_tokens": result.video_tokens,
        "prompt_tokens": len(result.prompt_token_ids),
        "output_tokens": len(result.token_ids),
    }
