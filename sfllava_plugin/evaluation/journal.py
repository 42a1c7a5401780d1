"""What was answered, kept as it comes, so that the same command goes on after a crash and asks nothing twice.

A line of JSON for every answer. It is found again by all that it depends on: the run (the model's files, the settings
that change answers, the versions) chooses the folder, and the video's file, the prompt and what was wanted of it make
the key. What changed is asked anew, and nothing else is. It does not know tasks or engines.
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
    """The answers of one run, by key; several processes and several runs may write at once.

    Where it cannot be written, on a full disk or one that is read-only, the evaluation goes on and nothing is kept.

    Args:
        folder: where the journals of all runs are.
        run: what every answer of this run depends on; anything that JSON can hold.
        rank: this process among those of the run.
    """

    def __init__(self, folder: Path, run: Mapping[str, Any], rank: int = 0):
        self._folder = folder / key_of(run)
        self._answers: dict[str, dict[str, Any]] = {}
        self._file = None
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
        """What was answered before, if anything."""
        return self._answers.get(key)

    def add(self, key: str, answer: dict[str, Any]) -> None:
        """Keep an answer; the system has it when this returns."""
        self._answers[key] = answer
        if not self._file:
            return
        line = json.dumps({"key": key, "answer": answer}, ensure_ascii=False).encode() + b"\n"
        try:
            # One write for a line, so that those of other processes do not come between.
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
            f"sfllava: {self._folder}: cannot be written: {error.strerror}; the evaluation goes on, its answers are "
            "not kept from here on (journal=FOLDER names another folder)",
            file=sys.stderr,
        )

    def _read(self, path: Path) -> None:
        for line in path.read_bytes().splitlines():
            try:
                row = json.loads(line)
                self._answers[row["key"]] = row["answer"]
            except (ValueError, KeyError, TypeError, RecursionError):
                # Torn by a crash; what it said is asked again.
                continue
