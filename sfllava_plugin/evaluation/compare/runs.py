"""Read folders that lmms-eval wrote: results, samples and our traces.

lmms-eval writes ``<output_path>/<model>/<date>_results.json`` and, after it, ``<date>_samples_<task>.jsonl``. A run
that was cut short lacks some of these files or lines; the newest complete run of each task counts.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sfllava_plugin.evaluation.compare.errors import FolderError, Unpaired
from sfllava_plugin.evaluation.compare.metrics import NOT_METRICS
from sfllava_plugin.evaluation.compare.traces import Trace, find_trace

DocId = int | str
_RESULTS = "_results.json"
#: Names under which tasks log the video of a question.
_VIDEO_NAMES = ("video_name", "videoID", "video_id", "video")


@dataclass(frozen=True)
class Sample:
    """One answered question, as lmms-eval logged it.

    Attributes:
        reply: the scored reply; several, for a task that compares continuations, are joined by newlines.
        logged: each metric's value, in the task's own form.
        input_tokens, output_tokens: of all calls together; None if the model does not count them.
        calls: calls of the model.
        video: the video's name, if the task logs it.
    """

    doc_id: DocId
    target: str
    input: str
    reply: str
    logged: Mapping[str, Any]
    input_tokens: int | None
    output_tokens: int | None
    calls: int
    video: str | None


@dataclass
class TaskRun:
    """One task, answered by one method.

    Attributes:
        date: of the run, as in its file names.
        reported: lmms-eval's own result of each metric.
        original: number of questions of the whole task.
        split: the split of the task's data.
        seconds: time of a question; None if unknown.
        has_loading: ``seconds`` includes loading the model.
        trace: what was really sent, for our own model.
    """

    task: str
    date: str
    path: Path
    samples: dict[DocId, Sample]
    reported: dict[str, float]
    original: int | None
    split: str
    seconds: float | None
    has_loading: bool
    trace: Trace | None


@dataclass
class Method:
    """A model with its arguments, and the tasks it answered.

    Attributes:
        groups: the tasks of each group that was asked for.
        unfinished: why newer or other runs of a task do not count.
    """

    label: str
    model: str
    model_args: str
    tasks: dict[str, TaskRun] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)
    unfinished: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    """One results file; see lmms-eval's `evaluation_tracker.py`."""

    path: Path
    content: Mapping[str, Any]

    @property
    def date(self) -> str:
        return self.path.name.removesuffix(_RESULTS)

    @property
    def config(self) -> Mapping[str, Any]:
        return self.content.get("config") or {}

    @property
    def method(self) -> tuple[str, str]:
        return str(self.config.get("model")), _arguments(self.config.get("model_args"))


def read_methods(
    folder: Path, label: str | None = None, accept: Callable[[Results], bool] = lambda _: True
) -> list[Method]:
    """Read every method in a folder.

    Runs of one model with the same arguments are one method.

    Args:
        label: the name of the method; by default the folder's, and of several methods also their arguments.
        accept: tells the runs that count.

    Raises:
        FolderError: the folder has no results.
        Unpaired: no run is complete, or a question is in a run twice.
    """
    if not folder.is_dir():
        raise FolderError(f"{folder}: no such folder; give an --output_path of lmms-eval")
    paths = sorted(folder.rglob(f"*{_RESULTS}"), key=lambda path: (path.name, path), reverse=True)
    if not paths:
        raise FolderError(f"{folder}: no *{_RESULTS} of lmms-eval in it; run lmms-eval with --output_path {folder}")
    broken: list[str] = []
    methods: dict[tuple[str, str], Method] = {}
    for results in _load(paths, broken):
        if accept(results):
            method = methods.setdefault(results.method, Method("", *results.method))
            _add(method, results)
    found = [method for method in methods.values() if method.tasks]
    if not found:
        reasons = [*broken, *(reason for method in methods.values() for reason in method.unfinished.values())]
        raise Unpaired(f"{folder}: no finished run: {'; '.join(reasons) or 'none with these arguments'}")
    base = label or folder.resolve().name
    for method in found:
        method.label = base if len(found) == 1 else f"{base} ({method.model_args or method.model})"
    return found[::-1]


def _load(paths: list[Path], broken: list[str]) -> Iterator[Results]:
    for path in paths:
        try:
            content = json.loads(path.read_bytes())
        except ValueError:
            content = None
        if isinstance(content, dict) and isinstance(content.get("configs"), dict):
            yield Results(path, content)
        else:
            broken.append(f"{path.name} is not a whole results file")


def _add(method: Method, results: Results) -> None:
    """Add the tasks of one run that no newer run has finished."""
    method.groups = {**(results.content.get("group_subtasks") or {}), **method.groups}
    for task in results.content["configs"]:
        if task in method.tasks:
            continue
        run = _task_run(results, task)
        if isinstance(run, TaskRun):
            method.tasks[task] = run
        else:
            method.unfinished.setdefault(task, run)


def _task_run(results: Results, task: str) -> TaskRun | str:
    """Read one task's samples, or say why the run is unfinished.

    Raises:
        Unpaired: a question is there twice.
    """
    path = results.path.with_name(f"{results.date}_samples_{task}.jsonl")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        rows = [json.loads(line) for line in lines if line.strip()]
        samples = [_sample(row) for row in rows]
    except FileNotFoundError:
        return f"{path.name} is missing (run lmms-eval with --log_samples)"
    except (ValueError, KeyError, TypeError):
        return f"{path.name} has a damaged line"
    by_id = {sample.doc_id: sample for sample in samples}
    if len(by_id) < len(samples):
        ids = [sample.doc_id for sample in samples]
        repeated = next(each for each in ids if ids.count(each) > 1)
        raise Unpaired(f"{path}: doc_id {repeated} is there more than once; evaluate {task} again")
    counts = (results.content.get("n-samples") or {}).get(task) or {}
    expected = _whole(counts.get("effective"))
    if len(samples) < (expected or 1):
        return f"{path.name} has {len(samples)} of {expected or 'its'} questions"
    config = results.content["configs"][task]
    seconds, has_loading = _seconds(results, len(samples))
    return TaskRun(
        task=task,
        date=results.date,
        path=path,
        samples=by_id,
        reported=_reported(results.content.get("results", {}).get(task, {})),
        original=counts.get("original"),
        split=str(config.get("test_split") or config.get("validation_split") or ""),
        seconds=seconds,
        has_loading=has_loading,
        trace=find_trace(results.path, task, {sample.doc_id: sample.reply for sample in samples}),
    )


def _sample(row: Mapping[str, Any]) -> Sample:
    counts = row.get("token_counts") or []
    known = [count for count in counts if count]
    logged = {name: value for name, value in row.items() if name not in NOT_METRICS}
    named = (value for value in logged.values() if isinstance(value, dict))
    videos = (value[name] for value in named for name in _VIDEO_NAMES if name in value)
    replies = row["filtered_resps"]
    return Sample(
        doc_id=row["doc_id"],
        target=str(row["target"]),
        input=str(row.get("input", "")),
        reply=replies if isinstance(replies, str) else "\n".join(str(reply) for reply in replies),
        logged=logged,
        input_tokens=_sum(known, "input_tokens"),
        output_tokens=_sum(known, "output_tokens"),
        calls=max(len(counts), 1),
        video=next((str(video) for video in videos), None),
    )


def _sum(counts: list[Mapping[str, Any]], name: str) -> int | None:
    found = [count[name] for count in counts if isinstance(count.get(name), int)]
    return sum(found) if found else None


def _seconds(results: Results, answered: int) -> tuple[float | None, bool]:
    """Return a question's time, and whether it includes loading the model."""
    throughput = results.content.get("throughput") or {}
    if isinstance(latency := throughput.get("avg_latency"), int | float):
        return float(latency), False
    effective = [(counts or {}).get("effective") for counts in (results.content.get("n-samples") or {}).values()]
    questions = sum(_whole(number) or 0 for number in effective) or answered
    if isinstance(elapsed := throughput.get("total_elapsed_time"), int | float):
        return float(elapsed) / questions, False
    try:
        return float(results.content["total_evaluation_time_seconds"]) / questions, True
    except (KeyError, TypeError, ValueError):
        return None, False


def _reported(found: Mapping[str, Any]) -> dict[str, float]:
    """Return lmms-eval's results, by metric without its filter."""
    return {
        name.partition(",")[0]: float(value) if isinstance(value, int | float) else float("nan")
        for name, value in found.items()
        if "," in name and "_stderr" not in name
    }


def _arguments(given: Any) -> str:
    if isinstance(given, Mapping):
        return ",".join(f"{name}={value}" for name, value in given.items())
    return str(given or "")


def _whole(number: Any) -> int | None:
    """Return a number of questions; None for a share (`--limit 0.1`)."""
    return int(number) if isinstance(number, int | float) and number >= 1 else None
