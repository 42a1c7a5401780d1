"""Rows of `sfllava batch` through a runner: in this process, or in the actors of a Ray cluster.

Ray Data has a vLLM stage of its own. It is not used: it decodes a video for every question about it and sends the
frames, 17 MB for 50, through the object store each time, and it has no place for a question's own options. Here a video
travels by its path, with all its questions, to a runner that decodes and encodes it once; Ray Data spreads the videos.
"""

import json
import logging
import os
from collections.abc import Iterator
from typing import Any

from sfllava_plugin._environment import install_hint
from sfllava_plugin.batch import Row, dump

#: Videos that an actor gets at once: enough that decoding stays hidden, few enough that actors finish together.
_VIDEOS_AT_ONCE = 16


def answer_here(rows: list[Row], model: str, engine_arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Start an engine in this process; rows of answers as they finish."""
    from sfllava_plugin.engine.runner import Runner

    return _answers(Runner(model, engine_arguments), rows)


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
        ValueError: ray is not installed, or the cluster cannot be reached.
    """
    # Ray's own remarks about its actors; what goes wrong with a question comes back as its answer.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise ValueError(f"ray is not installed: {install_hint('ray')}") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error", include_dashboard=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ValueError(f"no Ray cluster at {address}: {error}") from error
    try:
        devices = _devices(engine_arguments)
        gpus = int(ray.cluster_resources().get("GPU", 0))
        videos: dict[str, list[str]] = {}
        for row in rows:
            videos.setdefault(row.video, []).append(row.model_dump_json())
        ray.data.DataContext.get_current().enable_progress_bars = False
        dataset = ray.data.from_items([{"rows": group} for group in videos.values()])
        answers = dataset.map_batches(
            _Replica,
            fn_constructor_kwargs={"model": model, "engine_arguments": engine_arguments},
            batch_size=_VIDEOS_AT_ONCE,
            compute=ray.data.ActorPoolStrategy(size=replicas or max(1, gpus // devices)),
            num_gpus=devices if gpus else 0,
            num_cpus=1,
        )
        yield from (json.loads(row["answer"]) for row in answers.iter_rows())
    finally:
        ray.shutdown()


def _devices(engine_arguments: dict[str, Any]) -> int:
    """GPUs of one engine."""
    return engine_arguments.get("tensor_parallel_size", 1) * engine_arguments.get("pipeline_parallel_size", 1)


class _Replica:
    """One engine in an actor: rows of questions on some videos in, rows of answers out."""

    def __init__(self, model: str, engine_arguments: dict[str, Any]):
        # Several engines on one machine without GPUs would all choose the same cores.
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        from sfllava_plugin.engine.runner import Runner

        self._runner = Runner(model, engine_arguments)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        rows = [Row.model_validate_json(row) for group in batch["rows"] for row in group]
        return {"answer": [dump(answer) for answer in _answers(self._runner, rows)]}


def _answers(runner, rows: list[Row]) -> Iterator[dict[str, Any]]:
    from sfllava_plugin.engine.questions import DEFAULT_MAX_TOKENS, Failure, Question

    questions = (Question(row.video, row.question, row.options, row.max_tokens or DEFAULT_MAX_TOKENS) for row in rows)
    for position, result in runner.answers(questions):
        if isinstance(result, Failure):
            yield {"id": rows[position].id, "error": " ".join(str(result.error).split())}
            continue
        yield {
            "id": rows[position].id,
            "text": result.text,
            "answer": result.answer,
            "video_tokens": result.video_tokens,
            "prompt_tokens": len(result.prompt_token_ids),
            "output_tokens": len(result.token_ids),
        }
