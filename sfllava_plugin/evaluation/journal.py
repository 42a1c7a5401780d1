"""Keep answers, so that the same command resumes after a crash.

One line of JSON for each answer, written as soon as it is known and found again by everything it depends on. The run
(model files, settings that change answers, versions) chooses the folder; the video file, the prompt and the limits of
the answer make the key. A change therefore asks exactly the affected questions again.
"""

import errno
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from sfllava_plugin._atomic import atomic_write
from sfllava_plugin.provenance import key_of


class Journal:
    """The answers of one run, by key.

    Several processes and several runs may write at once.

    On a full or read-only disk the evaluation continues, and answers are no longer kept.

    Args:
        folder: the folder of all runs' journals.
        run: everything that all answers of the run depend on, as JSON.
        rank: this process among those of the run.
    """

    def __init__(self, folder: Path, run: Mapping[str, Any], rank: int = 0):
        self._folder = folder / key_of(run)
        self._answers: dict[str, dict[str, Any]] = {}
        self._file: IO[bytes] | None = None
        try:
            for part in sorted(self._folder.glob("*.jsonl")):
                self._read(part)
            self._folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(self._folder / "run.json") as file:
                file.write(json.dumps(run, indent=2, default=str).encode() + b"\n")
            self._file = self._opened(self._folder / f"{rank}.jsonl")
        except OSError as error:
            self._give_up(error)

    def get(self, key: str | None) -> dict[str, Any] | None:
        """Look up an earlier answer."""
        return self._answers.get(key) if key else None

    def add(self, key: str, answer: dict[str, Any]) -> None:
        """Keep an answer. It survives this process once the call returns."""
        self._answers[key] = answer
        if not self._file:
            return
        line = json.dumps({"key": key, "answer": answer}, ensure_ascii=False).encode() + b"\n"
        try:
            # One write for the whole line: another process's cannot end up inside it.
            if self._file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        if self._file:
            self._file.close()

    def _opened(self, path: Path) -> IO[bytes]:
        torn = path.exists() and not path.read_bytes().endswith(b"\n")
        file = path.open("ab", buffering=0)
        if torn:
            file.write(b"\n")
        return file

    def _give_up(self, error: OSError) -> None:
        self.close()
        self._file = None
        print(
            f"sfllava: {self._folder}: cannot be written: {error.strerror}; the evaluation continues, but its answers "
            "are no longer kept (journal=FOLDER chooses another folder)",
            file=sys.stderr,
        )

    def _read(self, path: Path) -> None:
        for line in path.read_bytes().splitlines():
            try:
                row = json.loads(line)
                self._answers[row["key"]] = row["answer"]
            except (ValueError, KeyError, TypeError, RecursionError):
                # Torn by a crash: this question is asked again.
                continue
