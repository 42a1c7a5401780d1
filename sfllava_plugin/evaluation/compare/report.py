"""A comparison as JSON, with every paired question."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sfllava_plugin._atomic import atomic_write
from sfllava_plugin.evaluation.compare.beside import Beside
from sfllava_plugin.evaluation.compare.comparison import Compared, Comparison
from sfllava_plugin.evaluation.compare.runs import Method
from sfllava_plugin.evaluation.compare.tables import unanswered


def as_json(compared: Compared, published: Beside, judge: str | None = None) -> dict[str, Any]:
    """Return everything in the table, unrounded, and each question's values."""
    return {
        "reference": compared.reference,
        "judge": judge,
        "methods": [_method(method) for method in compared.methods],
        "comparisons": [_comparison(each) for each in compared.comparisons],
        "not_comparable": list(compared.not_comparable),
        "notes": list(compared.notes),
        "published": {
            "measured_here": False,
            "figures": [figure.model_dump() for row in published.rows for figure in row.figures if figure],
            "warnings": list(published.warnings),
        },
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write the file at once.

    Raises:
        OSError: it cannot be written.
    """
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n")


def _method(method: Method) -> dict[str, Any]:
    tasks = {
        task: {
            "date": run.date,
            "samples": str(run.path),
            "questions": len(run.samples),
            "split": run.split,
            "seconds_per_question": run.seconds,
            "seconds_include_loading": run.has_loading,
            "no_answer": unanswered(run.samples.values()),
            "has_trace": run.trace is not None,
        }
        for task, run in method.tasks.items()
    }
    return {"label": method.label, "model": method.model, "model_args": method.model_args, "tasks": tasks}


def _comparison(each: Comparison) -> dict[str, Any]:
    cells = {
        label: {
            "value": cell.value,
            "reported_by_lmms_eval": cell.reported,
            "difference": asdict(cell.difference) if cell.difference else None,
        }
        for label, cell in each.cells.items()
    }
    return {
        "task": each.task,
        "metric": each.metric,
        "unit": "percent" if each.is_right else "score",
        "questions": len(each.paired.doc_ids),
        "videos": each.videos,
        "clustered_by": "video" if each.paired.by_video else "question",
        "left_out": dict(each.paired.left_out),
        "methods": cells,
        "doc_ids": list(each.paired.doc_ids),
        "videos_of_questions": list(each.paired.clusters),
        "values": {label: [_number(value) for value in values.tolist()] for label, values in each.values.items()},
    }


def _number(value: float) -> float | int:
    return int(value) if math.isfinite(value) and value == int(value) else value
