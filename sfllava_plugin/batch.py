"""Files of questions and of answers: JSON Lines in, JSON Lines out, resumable.

Answers are appended to OUT.part as they come, each flushed. When all are there, OUT is written in the order of the
questions, aside and renamed. What OUT.part or OUT holds already is not asked again, except questions that failed.

This module knows rows and files. It does not know engines; it is handed the answers.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class BatchError(ValueError):
    """A file of questions that cannot be used; the message names the line."""


class Row(BaseModel):
    """One question. ``video`` is a file or a folder of images; ``options`` make the question multiple choice."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str | int
    video: str = Field(min_length=1)
    question: str
    options: tuple[str, ...] = Field(default=(), max_length=26)
    max_tokens: int | None = Field(default=None, ge=1)


def read_rows(file: IO[str], folder: Path) -> list[Row]:
    """The questions in ``file``; relative videos are relative to ``folder``.

    Raises:
        BatchError: a line that is no question, or an id that was there before.
    """
    rows, lines = [], {}
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        row = _row(line, f"{getattr(file, 'name', 'input')}, line {number}")
        if (before := lines.setdefault(row.id, number)) != number:
            raise BatchError(f"{file.name}, line {number}: the id {row.id!r} is in line {before} already")
        rows.append(row.model_copy(update={"video": str(folder / row.video)}))
    return rows


def _row(line: str, where: str) -> Row:
    try:
        return Row.model_validate_json(line)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            message = f"unknown key {key!r}: use one of {', '.join(Row.model_fields)}"
        elif problem["type"] == "missing":
            message = f"the key {key!r} is missing"
        else:
            message = f"{key}: {problem['msg']}" if key else problem["msg"]
        raise BatchError(f"{where}: {message}") from error


class Results:
    """The answers to ``rows`` on their way into the file ``out``; a context manager.

    Only places in the file are kept in memory, not the answers.
    """

    def __init__(self, out: Path, rows: list[Row]):
        self._out, self._rows = out, rows
        self._part = out.with_name(out.name + ".part")
        self._places: dict[str | int, int] = {}
        self.failed: set[str | int] = set()

    def __enter__(self) -> "Results":
        self._out.parent.mkdir(parents=True, exist_ok=True)
        wanted = {row.id for row in self._rows}
        if not self._part.exists() and self._out.exists():
            aside = self._part.with_name(self._part.name + ".new")
            shutil.copyfile(self._out, aside)
            aside.replace(self._part)
        self._file = self._part.open("a+b")
        self._file.seek(0)
        while line := self._file.readline():
            place = self._file.tell() - len(line)
            if (row := _whole(line)) is None:
                # Torn by a crash: it was the last thing written.
                self._file.truncate(place)
                break
            if row.get("id") in wanted:
                self._note(row, place)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def missing(self) -> list[Row]:
        """The questions without an answer."""
        return [row for row in self._rows if row.id not in self._places or row.id in self.failed]

    def add(self, row: dict[str, Any]) -> None:
        """Append an answer; on disk, as far as this process can tell, when this returns."""
        self._file.seek(0, os.SEEK_END)
        place = self._file.tell()
        self._file.write(dump(row).encode() + b"\n")
        self._file.flush()
        self._note(row, place)

    def finish(self) -> None:
        """Write the output file in the order of the questions, and remove the other."""
        with tempfile.NamedTemporaryFile(dir=self._out.parent, prefix=f".{self._out.name}-", delete=False) as aside:
            try:
                for row in self._rows:
                    self._file.seek(self._places[row.id])
                    aside.write(self._file.readline())
                aside.flush()
                os.chmod(aside.name, 0o644)
                os.replace(aside.name, self._out)
            except BaseException:
                os.unlink(aside.name)
                raise
        self._part.unlink()

    def _note(self, row: dict[str, Any], place: int) -> None:
        self._places[row["id"]] = place
        (self.failed.add if "error" in row else self.failed.discard)(row["id"])


class InOrder:
    """Answers for a stream: written in the order of the questions, as soon as those before them are."""

    def __init__(self, out: IO[str], rows: list[Row]):
        self._out, self._order = out, [row.id for row in rows]
        self._waiting: dict[str | int, dict] = {}
        self._written = 0
        self.failed: set[str | int] = set()

    def add(self, row: dict[str, Any]) -> None:
        self._waiting[row["id"]] = row
        if "error" in row:
            self.failed.add(row["id"])
        for line in self._due():
            print(line, file=self._out, flush=True)

    def _due(self) -> Iterator[str]:
        while self._written < len(self._order) and self._order[self._written] in self._waiting:
            yield dump(self._waiting.pop(self._order[self._written]))
            self._written += 1


def dump(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False)


def _whole(line: bytes) -> dict | None:
    if not line.endswith(b"\n"):
        return None
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and "id" in row else None
