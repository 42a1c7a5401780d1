"""Rows of questions and of answers: JSON Lines in, JSON Lines out. results.py keeps answers in a file.

This module knows rows. It does not know engines; it is handed the answers.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class BatchError(ValueError):
    """A file of questions or of answers that cannot be used; the message says which, and where."""


Id = str | int


class Row(BaseModel):
    """One question. ``video`` is a file or a folder of images; ``options`` make the question multiple choice."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Id
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


class InOrder:
    """Answers for a stream: written in the order of the questions, as soon as those before them are."""

    def __init__(self, out: IO[str], rows: list[Row]):
        self._out, self._order = out, [row.id for row in rows]
        self._waiting: dict[Id, dict] = {}
        self._written = 0
        self.failed: set[Id] = set()

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
