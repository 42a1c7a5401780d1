"""Compare methods, task by task: values, differences, intervals, p values."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sfllava_plugin.evaluation.compare import statistics
from sfllava_plugin.evaluation.compare.errors import Unpaired
from sfllava_plugin.evaluation.compare.metrics import Column, column_of
from sfllava_plugin.evaluation.compare.pairing import Paired, pair
from sfllava_plugin.evaluation.compare.runs import Method, TaskRun


@dataclass(frozen=True)
class Difference:
    """A method minus the reference, over the same questions.

    Attributes:
        value: in points (percent) for right and wrong, else in the score's units; so are all below.
        low, high: 95 % interval; None with too few videos.
        visible: a smaller true difference could hardly be seen with these questions; None if no answer differs.
        b, c: questions that this method alone, or the reference alone, answered right; None for scores.
        p: McNemar's for right and wrong, else of a permutation over videos.
        p_over_videos: of the permutation over videos, for both.
        differs: the two methods have another value for some question.
        p_holm: p, corrected for all differences shown.
    """

    value: float
    low: float | None
    high: float | None
    visible: float | None
    b: int | None
    c: int | None
    p: float
    p_over_videos: float
    differs: bool
    p_holm: float = math.nan


@dataclass(frozen=True)
class Cell:
    """One method on one metric; ``value`` in percent for right and wrong."""

    value: float
    difference: Difference | None
    reported: float | None


@dataclass(frozen=True)
class Comparison:
    """One metric of one task.

    Attributes:
        cells: by label.
        values: [questions] of each method, by label.
    """

    task: str
    metric: str
    is_right: bool
    paired: Paired
    cells: Mapping[str, Cell]
    values: Mapping[str, NDArray[np.float64]]

    @property
    def videos(self) -> int:
        return len(set(self.paired.clusters))


@dataclass(frozen=True)
class Compared:
    """Everything that the reports show.

    Attributes:
        not_comparable: a reason for each task left out.
        notes: other things a reader must know.
    """

    methods: Sequence[Method]
    reference: str
    comparisons: Sequence[Comparison]
    not_comparable: Sequence[str]
    notes: Sequence[str] = field(default_factory=tuple)


def compare(methods: Sequence[Method], reference: str | None = None, tasks: Sequence[str] = ()) -> Compared:
    """Compare methods.

    Args:
        reference: label of the method that the others are compared with; by default the first.
        tasks: tasks or groups; by default every task that a method has.

    Raises:
        ValueError: unknown or repeated label, unknown task.
        Unpaired: nothing can be compared.
    """
    labels = [method.label for method in methods]
    if len(labels) < 2:
        raise ValueError("there is one method only: give two or more folders")
    if repeated := next((label for label in labels if labels.count(label) > 1), None):
        raise ValueError(f"two methods are called {repeated!r}: name the folders, as in OTHER={repeated}")
    base = reference or labels[0]
    if base not in labels:
        raise ValueError(f"unknown --reference {base!r}: use one of {', '.join(labels)}")
    comparisons: list[Comparison] = []
    refused: list[str] = []
    for task in chosen(methods, tasks):
        runs = {method.label: method.tasks[task] for method in methods if task in method.tasks}
        refused += [_absence(task, method) for method in methods if task not in method.tasks]
        if len(runs) < 2:
            continue
        found = list(_metrics(task, runs, base))
        if not found:
            names = sorted({name for run in runs.values() for name in run.reported})
            refused.append(f"{task}: not comparable: no value of each question in {', '.join(names) or 'its results'}")
        comparisons += found
    if not comparisons:
        reasons = f": {'; '.join(refused)}" if refused else ""
        raise Unpaired(f"{' and '.join(labels)} have nothing in common that can be compared{reasons}")
    comparisons = _corrected(comparisons)
    return Compared(methods, base, comparisons, refused, _notes(methods, comparisons))


def chosen(methods: Sequence[Method], tasks: Sequence[str]) -> list[str]:
    """List the tasks to compare; by default all. Groups become their parts.

    Raises:
        ValueError: no method has such a task.
    """
    every = list(dict.fromkeys(task for method in methods for task in (*method.tasks, *method.unfinished)))
    groups = {name: parts for method in methods for name, parts in method.groups.items() if parts}
    if not tasks:
        return every
    unknown = [task for task in tasks if task not in every and task not in groups]
    if unknown:
        raise ValueError(f"no folder has the task {unknown[0]!r}: they have {', '.join([*every, *groups])}")
    return list(dict.fromkeys(leaf for task in tasks for leaf in leaves(task, groups)))


def leaves(task: str, groups: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the tasks of a group, or the task itself."""
    if parts := groups.get(task):
        for part in parts:
            yield from leaves(part, groups)
    else:
        yield task


def _absence(task: str, method: Method) -> str:
    reason = method.unfinished.get(task)
    return f"{task}: {method.label} has not finished it: {reason}" if reason else f"{task}: {method.label} lacks it"


def _metrics(task: str, runs: Mapping[str, TaskRun], base: str) -> Iterator[Comparison]:
    paired = pair(task, runs)
    first = next(iter(runs.values()))
    for metric in first.reported:
        if not all(metric in run.reported for run in runs.values()):
            continue
        columns = {label: _column(metric, run, paired) for label, run in runs.items()}
        known = {label: column for label, column in columns.items() if column is not None}
        if len(known) < len(columns):
            continue
        is_right = all(column.is_right for column in known.values())
        scale = 100.0 if is_right else 1.0
        values = {label: column.values for label, column in known.items()}
        differences = _differences(values, base, paired, is_right) if base in values else {}
        cells = {
            label: Cell(float(values[label].mean()) * scale, differences.get(label), _finite(run.reported[metric]))
            for label, run in runs.items()
        }
        yield Comparison(task, metric, is_right, paired, cells, values)


def _column(metric: str, run: TaskRun, paired: Paired) -> Column | None:
    """Read a metric of the paired questions; None if some lack it.

    Metrics of one kind of question are such.
    """
    logged = [run.samples[doc_id].logged for doc_id in paired.doc_ids]
    if not all(metric in each for each in logged):
        return None
    return column_of(metric, [each[metric] for each in logged])


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _differences(
    values: Mapping[str, NDArray[np.float64]], base: str, paired: Paired, is_right: bool
) -> dict[str, Difference]:
    labels = [label for label in values if label != base]
    if not labels:
        return {}
    differences = np.stack([values[label] - values[base] for label in labels], axis=1)
    sums, sizes = statistics.cluster_sums(differences, paired.clusters)
    means = statistics.bootstrap(sums, sizes)
    scale = 100.0 if is_right else 1.0
    found = {}
    for place, label in enumerate(labels):
        delta, drawn = differences[:, place], means[:, place]
        enough = len(sizes) >= statistics.FEWEST_CLUSTERS
        low, high = statistics.interval(drawn, len(sizes)) if enough else (math.nan, math.nan)
        over_videos = statistics.sign_flip(sums[:, place])
        b, c = (int((delta > 0).sum()), int((delta < 0).sum())) if is_right else (None, None)
        found[label] = Difference(
            value=float(delta.mean()) * scale,
            low=low * scale if enough else None,
            high=high * scale if enough else None,
            visible=float(drawn.std()) * statistics.VISIBLE * scale if enough and delta.any() else None,
            b=b,
            c=c,
            p=over_videos if b is None or c is None else statistics.mcnemar(b, c),
            p_over_videos=over_videos,
            differs=bool(delta.any()),
        )
    return found


def _corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    places = [
        (number, label, cell.difference)
        for number, each in enumerate(comparisons)
        for label, cell in each.cells.items()
        if cell.difference
    ]
    corrected = statistics.holm([difference.p for _, _, difference in places])
    cells = [dict(each.cells) for each in comparisons]
    for (number, label, difference), p in zip(places, corrected, strict=True):
        cells[number][label] = replace(cells[number][label], difference=replace(difference, p_holm=p))
    return [replace(each, cells=cells[number]) for number, each in enumerate(comparisons)]


def _notes(methods: Sequence[Method], comparisons: Sequence[Comparison]) -> list[str]:
    notes = []
    for task, paired in {each.task: each.paired for each in comparisons}.items():
        for label, count in paired.left_out.items():
            if count:
                notes.append(f"{task}: {count} questions of {label} are left out: another method lacks them.")
        if not paired.by_video:
            notes.append(f"{task}: no folder names the videos, so the interval takes each question for its own video.")
    for each in comparisons:
        if each.paired.by_video and each.videos < statistics.FEWEST_CLUSTERS:
            notes.append(
                f"{each.task}: too few videos for an interval ({each.videos} of {statistics.FEWEST_CLUSTERS})."
            )
        for label, cell in each.cells.items():
            scaled = {cell.value, cell.value / 100} if each.is_right else {cell.value}
            if cell.reported is None or each.paired.left_out[label]:
                continue
            if not any(math.isclose(cell.reported, value, rel_tol=1e-6, abs_tol=1e-9) for value in scaled):
                notes.append(
                    f"{each.task}: lmms-eval's own {each.metric} of {label} is {cell.reported:.4g}: it does not weight "
                    "all questions alike."
                )
    notes += [
        f"{task}: a newer run of {method.label} does not count: {reason}."
        for method in methods
        for task, reason in method.unfinished.items()
        if task in method.tasks
    ]
    return list(dict.fromkeys(notes))
