"""Write the prompts really sent, beside lmms-eval's samples.

Those show only the task's own text.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sfllava_plugin._atomic import atomic_write
from sfllava_plugin.batch.files import dump


def write(folder: Path, run: Mapping[str, Any], rows: Mapping[str, list[dict[str, Any]]], rank: int = 0) -> None:
    """Write the run's description, and a line of JSON per request.

    Further calls append lines.

    Args:
        run: see provenance.py.
        rows: each task's rows, by its name.
        rank: this process among those of the run.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / "run.json") as file:
        file.write(json.dumps(run, indent=2, default=str).encode() + b"\n")
    for task, of_task in rows.items():
        name = f"{task}.jsonl" if rank == 0 else f"{task}.{rank}.jsonl"
        with (folder / name).open("a", encoding="utf-8") as file:
            file.writelines(dump(row) + "\n" for row in of_task)
