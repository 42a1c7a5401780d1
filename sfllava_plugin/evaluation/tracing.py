"""What was really sent and answered, beside lmms-eval's samples: these show the task's own text, not our prompts."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Trace:
    """A folder with the run's description and, for each task, a line of JSON for each request.

    Args:
        folder: made when there is something to write.
        run: see run.py.
        rank: this process among those of the run.
    """

    def __init__(self, folder: Path, run: Mapping[str, Any], rank: int = 0):
        self._folder, self._run, self._rank = folder, run, rank

    def add(self, task: str, rows: list[dict[str, Any]]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "run.json").write_text(json.dumps(self._run, indent=2, default=str) + "\n", encoding="utf-8")
        name = f"{task}.jsonl" if self._rank == 0 else f"{task}.{self._rank}.jsonl"
        with (self._folder / name).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
