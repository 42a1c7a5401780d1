"""What was answered, kept as it comes, so that the same command goes on after a crash and asks nothing twice.

A line of JSON for every answer. It is found again by all that it depends on: the run (the model's files, the settings
that change answers, the versions) chooses the folder, and the video's file, the prompt and what was wanted of it make
the key. What changed is asked anew, and nothing else is. It does not know tasks or engines.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Journal:
    """The answers of one run, by key; several processes and several runs may write at once.

    Args:
        folder: where the journals of all runs are.
        run: what every answer of this run depends on; anything that JSON can hold.
        rank: this process among those of the run.
    """

    def __init__(self, folder: Path, run: Mapping[str, Any], rank: int = 0):
        self._folder = folder / key_of(run)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._answers: dict[str, dict[str, Any]] = {}
        for part in sorted(self._folder.glob("*.jsonl")):
            self._read(part)
        (self._folder / "run.json").write_text(json.dumps(run, indent=2, default=str) + "\n", encoding="utf-8")
        path = self._folder / f"{rank}.jsonl"
        torn = path.exists() and not path.read_bytes().endswith(b"\n")
        self._file = path.open("ab", buffering=0)
        if torn:
            self._file.write(b"\n")

    def get(self, key: str | None) -> dict[str, Any] | None:
        """What was answered before, if anything."""
        return self._answers.get(key)

    def add(self, key: str, answer: dict[str, Any]) -> None:
        """Keep an answer; the system has it when this returns."""
        self._answers[key] = answer
        line = json.dumps({"key": key, "answer": answer}, ensure_ascii=False)
        # One write for a line, so that those of other processes do not come between.
        self._file.write(line.encode() + b"\n")

    def close(self) -> None:
        self._file.close()

    def _read(self, path: Path) -> None:
        for line in path.read_bytes().splitlines():
            try:
                row = json.loads(line)
                self._answers[row["key"]] = row["answer"]
            except (ValueError, KeyError, TypeError):
                # Torn by a crash; what it said is asked again.
                continue


def key_of(what: Any) -> str:
    """A short name for anything that JSON can hold; equal for equals only."""
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:32]
