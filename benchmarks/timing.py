"""Time two sides in turns, so that changing speed affects both."""

import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

#: Does the work once; returns the seconds it took and its result.
Side = Callable[[], tuple[float, Any]]


@dataclass(frozen=True)
class Stage:
    """One stage of the path, with its sides by name.

    ``difference`` compares the results of "ours" and "plain". Above ``limit`` they did not do the same work.
    """

    name: str
    sides: dict[str, Side]
    difference: Callable[[Any, Any], float]
    limit: float
    unit: str = "s"


@dataclass(frozen=True)
class Result:
    """Times of a stage: ``seconds`` by side, one number for each repeat."""

    name: str
    unit: str
    seconds: dict[str, list[float]]
    difference: float

    def __str__(self) -> str:
        ours, plain = (f"{side} {self.median(side):.4f} {self.unit}" for side in ("ours", "plain"))
        return f"{self.name}: {ours}, {plain}, plain / ours {self.ratio:.2f}"

    def median(self, side: str) -> float:
        return statistics.median(self.seconds[side])

    @property
    def ratios(self) -> list[float]:
        """Plain over ours for each repeat: above 1, ours is faster."""
        return [plain / ours for ours, plain in zip(self.seconds["ours"], self.seconds["plain"], strict=True)]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)


def timed(work: Callable[[], Any]) -> Side:
    """Turn a function into a side."""

    def side() -> tuple[float, Any]:
        start = now()
        result = work()
        return now() - start, result

    return side


def now() -> float:
    """Read the clock, once any accelerator has finished its work."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter()


class Clock:
    """Adds up the seconds spent in functions. Thread-safe."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    def around(self, name: str, function: Callable) -> Callable:
        def timed(*args, **kwargs):
            start = now()
            try:
                return function(*args, **kwargs)
            finally:
                self.add(name, now() - start)

        return timed

    def add(self, name: str, seconds: float) -> None:
        with self._lock:
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds


def measure(stage: Stage, repeats: int) -> Result:
    """Run every side once to warm up, then ``repeats`` times in turns.

    The order alternates, so that no side always goes first.

    Raises:
        RuntimeError: ours and plain disagree.
    """
    outcomes = {name: side()[1] for name, side in stage.sides.items()}
    difference = stage.difference(outcomes["ours"], outcomes["plain"])
    if not difference <= stage.limit:
        raise RuntimeError(f"{stage.name}: the two sides differ by {difference:.3g}, more than {stage.limit:g}")
    seconds = {name: [] for name in stage.sides}
    for repeat in range(repeats):
        names = list(stage.sides)
        for name in reversed(names) if repeat % 2 else names:
            seconds[name].append(stage.sides[name]()[0])
    return Result(stage.name, stage.unit, seconds, difference)
