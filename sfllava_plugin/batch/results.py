"""Write answers to a file so that an interrupted job can continue.

Each answer is stored with a key of everything it depends on; a question is asked again if its key changed or if it
failed. There are three files:

- OUT.part: answers with their keys, appended as they come, each flushed;
- OUT: the answers in the order of the questions, written once all are there;
- OUT.keys: the keys of the answers in OUT.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from sfllava_plugin._atomic import atomic_write
from sfllava_plugin.batch.files import RESUMABLE, BatchError, Id, Row, dump
from sfllava_plugin.provenance import key_of, video_identity

#: The beginning of every line of OUT.part.
_BEGINNING = b'{"key": "'


class Key(NamedTuple):
    """Everything an answer depends on.

    Attributes:
        question: a hash of the run, the question and the video's path.
        video: a hash of the video's identity; "" if there is no such file.
    """

    question: str
    video: str

    def __str__(self) -> str:
        return f"{self.question}.{self.video}"

    @classmethod
    def parse(cls, text: str) -> "Key":
        question, _, video = text.partition(".")
        return cls(question, video)

    def fits(self, kept: "Key") -> bool:
        """Tell whether an answer kept under another key is still valid.

        It is if nothing but the video changed, and that was deleted.
        """
        return self.question == kept.question and self.video in ("", kept.video)


def keys_of(rows: Sequence[Row], run: Mapping[str, Any]) -> dict[Id, Key]:
    """Return the key of each question, by its id.

    Args:
        run: what all answers depend on (provenance.py).
    """
    run_key = key_of(run)
    videos = {video: _video_key(video) for video in {row.video for row in rows}}
    return {
        row.id: Key(key_of([run_key, row.video, row.question, row.options, row.max_tokens]), videos[row.video])
        for row in rows
    }


def _video_key(video: str) -> str:
    try:
        return key_of(video_identity(video))
    except (OSError, ValueError):
        return ""


class Results:
    """The answers to ``rows`` in the file ``out``; a context manager.

    Memory holds offsets into the file, not the answers.

    Args:
        keys: of each question, by its id.
        overwrite: drop answers to other questions, and those of unknown origin.

    Attributes:
        failed: ids of questions that could not be answered.
        outdated: ids of questions with an answer from another model, question or video.

    Raises:
        BatchError: from any method, if a file cannot be written, if another process is writing it, or if answers would
            be lost without ``overwrite``.
    """

    def __init__(self, out: Path, rows: Sequence[Row], keys: Mapping[Id, Key], *, overwrite: bool = False):
        self._out, self._rows, self._keys, self._overwrite = out, rows, keys, overwrite
        self._part, self._key_file = Path(f"{out}.part"), Path(f"{out}.keys")
        self._places: dict[Id, int] = {}
        self._foreign: set[Id] = set()
        self.failed: set[Id] = set()
        self.outdated: set[Id] = set()

    def __enter__(self) -> "Results":
        if self._out.exists() and not self._out.is_file():
            raise BatchError(f"{self._out}: is not a file; give a file, or - for standard output")
        with self._writing():
            self._out.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._locked()
            try:
                self._read()
                earlier = self._earlier_places()
                self._refuse_to_lose()
                self._take_over(earlier)
                self.outdated -= self._places.keys()
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        # On a full disk, flushing the buffer fails again; the first failure was reported.
        with suppress(OSError):
            if self._part.exists() and not os.fstat(self._file.fileno()).st_size:
                self._part.unlink()
        with suppress(OSError):
            self._file.close()

    def missing(self) -> list[Row]:
        """Return the questions without an answer."""
        return [row for row in self._rows if row.id not in self._places]

    def add(self, row: dict[str, Any]) -> None:
        """Append an answer and flush it to the operating system."""
        with self._writing():
            self._append(row, self._keys[row["id"]])
            self._file.flush()
        if "error" in row:
            self.failed.add(row["id"])

    def finish(self) -> None:
        """Write OUT in the order of the questions; replace OUT.part by OUT.keys."""
        with self._writing():
            # The answers are renamed first: after a crash between the two, keys are too old, and never too new.
            with atomic_write(self._key_file) as keys, atomic_write(self._out) as out:
                for row in self._rows:
                    self._file.seek(self._places[row.id])
                    kept = json.loads(self._file.readline())
                    out.write(dump(kept["answer"]).encode() + b"\n")
                    keys.write(dump({"id": row.id, "key": kept["key"]}).encode() + b"\n")
            self._part.unlink()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            kept = f"; {RESUMABLE}" if self._places else ""
            raise BatchError(f"{self._out}: cannot be written: {error.strerror}{kept}") from error

    def _locked(self) -> IO[bytes]:
        """Open OUT.part and lock it."""
        while True:
            file = self._part.open("a+b")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                raise BatchError(f"{self._part}: another process is writing it; wait for it, or stop it") from None
            # The other process may have removed the file after it was opened here.
            if os.fstat(file.fileno()).st_nlink:
                return file
            file.close()

    def _read(self) -> None:
        """Find the answers in OUT.part, and cut off a torn last line."""
        self._file.seek(0)
        while line := self._file.readline():
            place = self._file.tell() - len(line)
            if (kept := _kept(line)) is None:
                if place == 0 and not _is_torn(line):
                    raise BatchError(f"{self._part}: was not written by this command; move it away")
                self._file.truncate(place)
                return
            row, key = kept
            if self._can_be_kept(row, key):
                self._places[row["id"]] = place

    def _earlier_places(self) -> dict[int, Key]:
        """Return offsets and keys of answers in OUT but not in OUT.part.

        Raises:
            BatchError: an answer has no key.
        """
        if not self._out.exists():
            return {}
        keys, found = self._earlier_keys(), {}
        with self._out.open("rb") as before:
            while line := before.readline():
                row = _json_object(line) or {}
                if (name := _id(row)) in self._places or "error" in row:
                    continue
                if name in keys:
                    if self._can_be_kept(row, keys[name]):
                        found[before.tell() - len(line)] = keys[name]
                elif not self._overwrite:
                    raise BatchError(
                        f"{self._out}: the model and question of its answers are unknown, because they are not in "
                        f"{self._key_file.name}; move it away, or ask again with --overwrite"
                    )
        return found

    def _earlier_keys(self) -> dict[Id, Key]:
        if not self._key_file.exists():
            return {}
        with self._key_file.open("rb") as file:
            kept = (_json_object(line) or {} for line in file)
            return {name: Key.parse(one["key"]) for one in kept if (name := _id(one)) is not None and "key" in one}

    def _can_be_kept(self, row: dict[str, Any], key: Key) -> bool:
        """Tell whether an earlier answer is valid; record why if not."""
        name = row["id"]
        if "error" in row:
            return False
        if name not in self._keys:
            self._foreign.add(name)
            return False
        if not self._keys[name].fits(key):
            self.outdated.add(name)
            return False
        return True

    def _refuse_to_lose(self) -> None:
        if self._foreign and not self._overwrite:
            raise BatchError(
                f"{self._out}: has {len(self._foreign)} answers to questions that are not in the input, such as "
                f"{min(self._foreign, key=str)!r}; give another file, or --overwrite to drop them"
            )

    def _take_over(self, earlier: Mapping[int, Key]) -> None:
        """Copy answers from OUT to OUT.part."""
        if not earlier:
            return
        with self._out.open("rb") as before:
            for place, key in earlier.items():
                before.seek(place)
                self._append(json.loads(before.readline()), key)
        self._file.flush()

    def _append(self, row: dict[str, Any], key: Key) -> None:
        place = self._file.seek(0, os.SEEK_END)
        self._file.write(dump({"key": str(key), "answer": row}).encode() + b"\n")
        self._places[row["id"]] = place


def _is_torn(line: bytes) -> bool:
    """Tell whether this may be the beginning of a torn line."""
    return not line.strip(b"\0\n") or line.startswith(_BEGINNING) or _BEGINNING.startswith(line)


def _kept(line: bytes) -> tuple[dict[str, Any], Key] | None:
    """Parse a line of OUT.part into answer and key; None if torn."""
    found = (_json_object(line) if line.endswith(b"\n") else None) or {}
    row, key = found.get("answer"), found.get("key")
    if not isinstance(row, dict) or _id(row) is None or not isinstance(key, str):
        return None
    return row, Key.parse(key)


def _json_object(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _id(row: Mapping[str, Any]) -> Id | None:
    name = row.get("id")
    return name if isinstance(name, str | int) else None
