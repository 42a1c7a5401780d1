"""Read questions from JSON Lines, and write answers to a stream."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

#: Next line, line separator and paragraph separator.
_LINE_ENDS = str.maketrans({end: f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"})


class BatchError(ValueError):
    """An unusable file of questions or answers; the message names the place."""


#: How messages end if the answers so far are safe.
RESUMABLE = "finished answers are kept; run the same command to continue"

Id = str | int


class Row(BaseModel):
    """One question.

    Attributes:
        video: a file, or a folder of images.
        options: make the question multiple choice.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Id
    video: str = Field(min_length=1)
    question: str
    options: tuple[str, ...] = Field(default=(), max_length=26)
    max_tokens: int | None = Field(default=None, ge=1)


def read_rows(file: IO[str], folder: Path) -> list[Row]:
    """Read the questions in ``file``; paths of videos are relative to ``folder``.

    Raises:
        BatchError: a line is not a question, or repeats an id.
    """
    rows: list[Row] = []
    lines: dict[Id, int] = {}
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        row = _row(line, f"{getattr(file, 'name', 'input')}, line {number}")
        if (before := lines.setdefault(row.id, number)) != number:
            raise BatchError(f"{file.name}, line {number}: the id {row.id!r} is already in line {before}")
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
    """A stream of answers in the order of their questions, without delay."""

    def __init__(self, out: IO[str], rows: list[Row]):
        self._out, self._order = out, [row.id for row in rows]
        self._waiting: dict[Id, dict[str, Any]] = {}
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
    """Write a row as JSON that is one line for every reader.

    JSON leaves three of the line ends as they are that Python's ``splitlines`` knows.
    """
    return json.dumps(row, ensure_ascii=False).translate(_LINE_ENDS)
