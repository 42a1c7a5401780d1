"""Put published figures beside a comparison, with warnings where the two differ."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sfllava_plugin.evaluation.compare.comparison import Compared, Comparison
from sfllava_plugin.evaluation.compare.published import Benchmark, Figure, Published, load

#: Values of --published.
SIZES = ("7b", "34b", "none")
_API = "api"


@dataclass(frozen=True)
class Row:
    """A system's published figures in a comparison's columns; None for none."""

    system: str
    size: str
    source: str
    note: str
    figures: Sequence[Figure | None]


@dataclass(frozen=True)
class Beside:
    """Published rows, and what makes ours different from them."""

    rows: Sequence[Row] = ()
    warnings: Sequence[str] = field(default_factory=tuple)


def beside(compared: Compared, size: str, judge: str | None) -> Beside:
    """Find the published figures of the comparison's benchmarks.

    A figure stands in the column of its benchmark even if our task asks other questions; a warning then says so.

    Args:
        size: one of `SIZES`. Systems around a GPT model are shown with both sizes.
        judge: the model that judged all answers again, if one did.

    Raises:
        ValueError: an unknown size.
    """
    if size not in SIZES:
        raise ValueError(f"unknown --published {size!r}: use {', '.join(SIZES)}")
    if size == "none":
        return Beside()
    published = load()
    columns = [_Column(published, each) for each in compared.comparisons]
    rows: dict[tuple[str, str, str, str], list[Figure | None]] = {}
    for figure in published.figures():
        if figure.size not in (size, _API):
            continue
        for place, column in enumerate(columns):
            if column.shows(figure):
                key = (figure.system, figure.size, figure.source, figure.note)
                rows.setdefault(key, [None] * len(columns))[place] = figure
    found = [Row(*key, figures) for key, figures in rows.items()]
    if not found:
        return Beside()
    warnings = [warning for column in columns for warning in column.warnings(judge)]
    return Beside(found, list(dict.fromkeys([*warnings, *_prompts(compared, columns)])))


class _Column:
    """A column of the comparison, and its benchmark."""

    def __init__(self, published: Published, comparison: Comparison):
        self.comparison = comparison
        self.benchmark: Benchmark | None = published.benchmark_of(comparison.task)
        self._name = next((name for name, each in published.benchmarks.items() if each is self.benchmark), None)
        places = self.benchmark.figures if self.benchmark else ()
        self._place = next((place for place in places if place.metric == comparison.metric), None)

    def shows(self, figure: Figure) -> bool:
        return self._place is not None and figure.benchmark == self._name and figure.metric == self._place.metric

    def warnings(self, judge: str | None) -> Iterator[str]:
        if not self.benchmark or not self._place:
            return
        task, questions = self.comparison.task, len(self.comparison.paired.doc_ids)
        if task != self._place.task:
            yield (
                f"{task} asks other questions than the published figures ({self.benchmark.name}, "
                f"{self.benchmark.split}): evaluate {self._place.task}"
            )
        expected = self._place.items or self.benchmark.items
        if task == self._place.task and expected and questions != expected:
            yield f"{task}: {questions} questions here, {expected} in the published figures"
        if self.benchmark.judged:
            ours = f"{judge} judged ours" if judge else "lmms-eval does not record who judged ours"
            yield f"{task}: {ours}; the judge of each published row is named below"


def _prompts(compared: Compared, columns: Sequence[_Column]) -> Iterator[str]:
    tasks = {column.comparison.task for column in columns if column.benchmark}
    for method in compared.methods:
        traces = [run.trace for task, run in method.tasks.items() if task in tasks]
        if any(trace is None or trace.run.get("prompt") != "paper" for trace in traces):
            yield f"{method.label}: its prompts are not known to be those of a paper"
