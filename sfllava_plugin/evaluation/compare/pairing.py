"""Pair the answers of several methods to the same questions.

lmms-eval's doc_hash is the same for every question, so the pair is (task, doc_id), and target and input must agree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sfllava_plugin.evaluation.compare.errors import Unpaired
from sfllava_plugin.evaluation.compare.runs import DocId, TaskRun

_SHOWN = 60


@dataclass(frozen=True)
class Paired:
    """The questions of one task that every method answered.

    Attributes:
        doc_ids: in order.
        clusters: the video of each question; the question itself where the video is unknown.
        by_video: some videos are known.
        left_out: questions of each method that another lacks.
    """

    doc_ids: Sequence[DocId]
    clusters: Sequence[str]
    by_video: bool
    left_out: Mapping[str, int]


def pair(task: str, runs: Mapping[str, TaskRun]) -> Paired:
    """Pair the questions of one task.

    Args:
        runs: the task's run of each method, by label.

    Raises:
        Unpaired: the methods were asked different questions, or have none in common.
    """
    labels = list(runs)
    common = set(runs[labels[0]].samples).intersection(*(run.samples for run in runs.values()))
    if not common:
        raise Unpaired(f"{task}: {' and '.join(labels)} have no question in common; use the same --limit and --offset")
    doc_ids = sorted(common, key=lambda doc_id: (isinstance(doc_id, str), doc_id))
    for label in labels[1:]:
        _check(task, doc_ids, labels[0], label, runs)
    videos = _videos(doc_ids, runs)
    return Paired(
        doc_ids=doc_ids,
        clusters=[videos.get(doc_id, f"question {doc_id}") for doc_id in doc_ids],
        by_video=bool(videos),
        left_out={label: len(run.samples) - len(doc_ids) for label, run in runs.items()},
    )


def _check(task: str, doc_ids: Sequence[DocId], first: str, second: str, runs: Mapping[str, TaskRun]) -> None:
    for doc_id in doc_ids:
        one, other = runs[first].samples[doc_id], runs[second].samples[doc_id]
        for name in ("target", "input"):
            here, there = getattr(one, name), getattr(other, name)
            if here != there:
                raise Unpaired(
                    f"{task}: {first} and {second} were asked different questions: the {name} of doc_id {doc_id} is "
                    f"{_short(here)} and {_short(there)}; evaluate both with the same tasks and lmms-eval"
                )


def _videos(doc_ids: Sequence[DocId], runs: Mapping[str, TaskRun]) -> dict[DocId, str]:
    """Find the videos of questions, in one method's words.

    Folders differ between machines, so names from two methods do not mix unless one method lacks a video.
    """
    by_method: list[dict[DocId, str]] = []
    for run in runs.values():
        rows = run.trace.rows if run.trace else {}
        # A question about text alone has an empty name.
        sent = {doc_id: str(rows[doc_id]["video"]) for doc_id in doc_ids if doc_id in rows}
        by_method.append({doc_id: video for doc_id, video in sent.items() if video})
        logged = {doc_id: run.samples[doc_id].video for doc_id in doc_ids}
        by_method.append({doc_id: video for doc_id, video in logged.items() if video})
    videos: dict[DocId, str] = {}
    for found in sorted(by_method, key=len, reverse=True):
        videos = found | videos
    return videos


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
