"""Find the prompts and videos of a run in our traces (evaluation/trace.py)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FOLDERS = "*_sfllava"


@dataclass(frozen=True)
class Trace:
    """What our model was really asked, by doc_id.

    Attributes:
        rows: ``video``, ``prompt``, ``frames`` and the reply.
        run: the description of the run (provenance.py).
    """

    rows: Mapping[Any, Mapping[str, Any]]
    run: Mapping[str, Any]


def find_trace(results: Path, task: str, replies: Mapping[Any, str]) -> Trace | None:
    """Find the newest trace with the same replies as the samples.

    The dates in the two names differ: lmms-eval's is that of another time zone, and of the end.

    Args:
        results: lmms-eval's results file.
        replies: the samples' replies by doc_id.
    """
    folders = {*results.parent.glob(_FOLDERS), *results.parent.parent.glob(_FOLDERS)}
    for folder in sorted(folders, key=lambda path: path.name, reverse=True):
        trace = _read(folder, task)
        if trace and _agrees(trace, replies):
            return trace
    return None


def _read(folder: Path, task: str) -> Trace | None:
    rows: dict[Any, Mapping[str, Any]] = {}
    try:
        run = json.loads((folder / "run.json").read_bytes())
        # Further processes of the run have a number in the name.
        for path in [folder / f"{task}.jsonl", *sorted(folder.glob(f"{task}.[0-9]*.jsonl"))]:
            if path.exists():
                for line in path.read_text(encoding="utf-8").split("\n"):
                    if line.strip():
                        row = json.loads(line)
                        rows.setdefault(row["doc_id"], row)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Trace(rows, run) if rows else None


def _agrees(trace: Trace, replies: Mapping[Any, str]) -> bool:
    """Tell whether the samples can come from this trace.

    A task receives the letter, or the start of the text.
    """
    for doc_id, reply in replies.items():
        row = trace.rows.get(doc_id)
        if row is None:
            # Its question failed.
            if reply:
                return False
        elif "text" in row and reply != row.get("answer") and not str(row["text"]).startswith(reply):
            return False
    return True
