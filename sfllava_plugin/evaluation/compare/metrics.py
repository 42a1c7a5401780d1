"""Turn what lmms-eval logged for one question into a number."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Keys of a logged sample that are not metrics.
NOT_METRICS = {
    "doc_id",
    "doc_hash",
    "target",
    "input",
    "input_media",
    "filtered_resps",
    "resps",
    "token_counts",
    "submission",
}


@dataclass(frozen=True)
class Column:
    """One metric of one task, over questions.

    Attributes:
        values: float64 [questions]; with ``is_right``, 1.0 for right and 0.0 for wrong.
        is_right: it says right or wrong; otherwise it is a score.
    """

    values: NDArray[np.float64]
    is_right: bool


def column_of(metric: str, logged: Sequence[Any]) -> Column | None:
    """Read one metric's logged values; None for an unknown form."""
    found = [_read(metric, each) for each in logged]
    values = [each for each in found if each is not None]
    if len(values) < len(found):
        return None
    numbers = np.array([number for number, _ in values], dtype=np.float64)
    is_score = any(is_score for _, is_score in values)
    return Column(numbers, not is_score and bool(np.isin(numbers, (0.0, 1.0)).all()))


def _read(metric: str, logged: Any) -> tuple[float, bool] | None:
    """Return a value, and whether it is a judge's score.

    None for an unknown form, which is never guessed. The known forms are those of the tasks that lmms-eval 0.7.3 and
    this package have.
    """
    match logged:
        case bool() | int() | float():
            return (float(logged), False) if math.isfinite(logged) else None
        # Judged: activitynetqa, our open-ended tasks.
        case {"Correctness": str(verdict), "score": int() | float() as score}:
            return (float(score), True) if metric.endswith("score") else (float("yes" in verdict.lower()), False)
        # egoschema
        case {"pred": pred, "ground_truth": truth}:
            return float(str(pred) == str(truth)), False
        # videomme, mvbench
        case {"pred_answer": _, "score": int() | float() as score}:
            return float(score), False
        # mlvu
        case {"pred_answer": pred, "answer": truth}:
            return float(pred == truth), False
        # perceptiontest
        case {"correct": bool() | int() | float() as correct}:
            return float(correct), False
        # tempcompass
        case {"match_success": bool(), "rating": int() | float() as rating}:
            return float(rating), False
        # videochatgpt
        case {"A": _, "pred": _, "score": int() | float() as score}:
            return float(score), True
    return None
