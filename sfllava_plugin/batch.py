"""Files of questions and of answers: JSON Lines in, JSON Lines out, resumable.

Answers are appended to OUT.part as they come, each flushed. When all are there, OUT is written in the order of the
questions, aside and renamed. What OUT.part or OUT holds already is not asked again, except questions that failed.

This module knows rows and files. It does not know engines; it is handed the answers.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sfllava_plugin.files import written_aside


class BatchError(ValueError):
    """A file of questions or of answers that cannot be used; the message says which, and where."""


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

    Only places in the file are kept in memory, not the answers. All of it raises BatchError where a file cannot be
    written, or another process writes it.
    """

    def __init__(self, out: Path, rows: list[Row]):
        self._out, self._rows = out, rows
        self._part = Path(f"{out}.part")
        self._places: dict[str | int, int] = {}
        self.failed: set[str | int] = set()

    def __enter__(self) -> "Results":
        if self._out.exists() and not self._out.is_file():
            raise BatchError(f"{self._out}: is not a file; give a file, or - for standard output")
        with self._writing():
            self._out.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._locked()
            self._read()
            self._take_over()
        return self

    def __exit__(self, *_: object) -> None:
        # On a full disk what is left in the buffer fails once more; that was said when it failed first.
        with suppress(OSError):
            self._file.close()

    def missing(self) -> list[Row]:
        """The questions without an answer."""
        return [row for row in self._rows if row.id not in self._places or row.id in self.failed]

    def add(self, row: dict[str, Any]) -> None:
        """Append an answer; on disk, as far as this process can tell, when this returns."""
        with self._writing():
            place = self._file.seek(0, os.SEEK_END)
            self._file.write(dump(row).encode() + b"\n")
            self._file.flush()
        self._note(row, place)

    def finish(self) -> None:
        """Write the output file in the order of the questions, and remove the other."""
        with self._writing():
            with written_aside(self._out) as out:
                for row in self._rows:
                    self._file.seek(self._places[row.id])
                    out.write(self._file.readline())
            self._part.unlink()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            kept = "; what was answered is kept, the same command goes on" if self._places else ""
            raise BatchError(f"{self._out}: cannot be written: {error.strerror}{kept}") from error

    def _locked(self) -> IO[bytes]:
        """OUT.part, open for this process alone."""
        while True:
            file = self._part.open("a+b")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                raise BatchError(f"{self._part}: another process is writing it; wait for it, or stop it") from None
            # The other may have finished, and removed it, after it was opened here.
            if os.fstat(file.fileno()).st_nlink:
                return file
            file.close()

    def _read(self) -> None:
        """Note what is there; what a crash tore is cut off, it was the last thing written."""
        wanted = {row.id for row in self._rows}
        self._file.seek(0)
        while line := self._file.readline():
            place = self._file.tell() - len(line)
            if (row := _whole(line)) is None:
                self._file.truncate(place)
                return
            if row.get("id") in wanted:
                self._note(row, place)

    def _take_over(self) -> None:
        """Copy what an earlier OUT answers."""
        if not self._out.exists():
            return
        wanted = {row.id for row in self._rows}
        with self._out.open("rb") as before:
            for line in before:
                row = _whole(line)
                if row and row["id"] in wanted and row["id"] not in self._places:
                    self._note(row, self._file.seek(0, os.SEEK_END))
                    self._file.write(line)
        self._file.flush()

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
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and "id" in row else None
