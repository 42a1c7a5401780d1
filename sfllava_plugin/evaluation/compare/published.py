"""Published figures, each with source, split and judge: published.yaml as validated rows."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

#: Nobody judges a multiple-choice answer.
NO_JUDGE = "none"


def _figures(given: Any) -> Any:
    """Turn 64.2, "79.1/4.1" or a list into a list."""
    if isinstance(given, str):
        return [float(part) for part in given.split("/")]
    return given if isinstance(given, list) else [given]


Figures = Annotated[tuple[float | None, ...], BeforeValidator(_figures)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Place(_Strict):
    """The task and metric here that measure a figure.

    ``items``: number of questions, where it differs from the benchmark's.
    """

    task: str
    metric: str
    items: int | None = None


class Benchmark(_Strict):
    """A benchmark, and the questions that the papers ask.

    Attributes:
        items, videos: number of questions and videos; None where several tasks differ.
        judged: a language model judges the answers.
        figures: the places of a figure's parts, in order.
        other_tasks: tasks here with other questions of the same benchmark.
    """

    name: str
    split: str
    items: int | None = None
    videos: int | None = None
    judged: bool = False
    figures: tuple[Place, ...]
    other_tasks: tuple[str, ...] = ()


class _System(_Strict):
    system: str
    size: Literal["7b", "34b", "api"]
    source: str
    judge: str = NO_JUDGE
    note: str = ""
    notes: Mapping[str, str] = Field(default_factory=dict)
    splits: Mapping[str, str] = Field(default_factory=dict)
    figures: Mapping[str, Figures]


class Figure(_Strict):
    """One published figure; accuracies in percent."""

    system: str
    size: Literal["7b", "34b", "api"]
    benchmark: str
    task: str
    metric: str
    value: float
    source: str
    split: str
    judge: str
    note: str


class Published(_Strict):
    """The whole file."""

    benchmarks: Mapping[str, Benchmark]
    systems: tuple[_System, ...]

    @model_validator(mode="after")
    def _fits(self) -> "Published":
        for system in self.systems:
            for name in (*system.figures, *system.notes, *system.splits):
                if name not in self.benchmarks:
                    raise ValueError(f"{system.system}: unknown benchmark {name!r}")
            for name, values in system.figures.items():
                benchmark = self.benchmarks[name]
                if len(values) != len(benchmark.figures):
                    raise ValueError(f"{system.system}: {name} needs {len(benchmark.figures)} figures: {values}")
                if benchmark.judged and system.judge == NO_JUDGE:
                    raise ValueError(f"{system.system}: {name} needs a judge")
        return self

    def figures(self) -> Iterator[Figure]:
        """Yield every figure, in the order of the file."""
        for system in self.systems:
            for name, values in system.figures.items():
                benchmark = self.benchmarks[name]
                for place, value in zip(benchmark.figures, values, strict=True):
                    if value is not None:
                        yield Figure(
                            system=system.system,
                            size=system.size,
                            benchmark=name,
                            task=place.task,
                            metric=place.metric,
                            value=value,
                            source=system.source,
                            split=system.splits.get(name, benchmark.split),
                            judge=system.judge if benchmark.judged else NO_JUDGE,
                            note=system.notes.get(name, system.note),
                        )

    def benchmark_of(self, task: str) -> Benchmark | None:
        """Find the benchmark whose questions, or other ones, a task asks."""
        for benchmark in self.benchmarks.values():
            if task in benchmark.other_tasks or any(task == place.task for place in benchmark.figures):
                return benchmark
        return None


@cache
def load() -> Published:
    """Read published.yaml."""
    text = Path(__file__).with_name("published.yaml").read_text(encoding="utf-8")
    return Published.model_validate(yaml.safe_load(text))
