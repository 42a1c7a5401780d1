"""Run `sfllava batch`: questions from a file, answers into a file."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sfllava_plugin.batch.files import RESUMABLE, BatchError, InOrder, Row, read_rows
from sfllava_plugin.batch.results import Results, keys_of
from sfllava_plugin.errors import EngineDied

STREAM = "-"
_INTERRUPTED = 130

#: Answers rows of questions and yields rows of answers as they finish; called only if there are questions.
Answering = Callable[[list[Row]], Iterator[dict[str, Any]]]


def run(
    source: str, target: str, answering: Answering, describe: Callable[[], dict[str, Any]], *, overwrite: bool = False
) -> int:
    """Answer the questions in ``source`` that ``target`` lacks; return the exit code.

    Args:
        source, target: files, or ``-`` for standard input and output.
        describe: describes what all answers depend on (provenance.py).
        overwrite: drop answers in ``target`` to other questions, and those of unknown origin.

    Raises:
        BatchError: a file cannot be used.
        EngineDied: the engine failed before the last answer.
    """
    rows = _read(source)
    if target == STREAM:
        stream = InOrder(sys.stdout, rows)
        if _answer(rows, stream, answering):
            return _interrupted("unwritten answers are lost; the same command starts from the beginning")
        return 1 if stream.failed else 0
    kept = Results(Path(target), rows, keys_of(rows, describe()), overwrite=overwrite)
    with kept as results, _kept_if_engine_dies():
        missing = results.missing()
        if outdated := len(results.outdated):
            _report(f"{target}: {outdated} answers are from another model, question or video; asking again")
        if _answer(missing, results, answering, done=len(rows) - len(missing)):
            return _interrupted(RESUMABLE)
        results.finish()
    return 1 if results.failed else 0


@contextmanager
def _kept_if_engine_dies() -> Iterator[None]:
    try:
        yield
    except EngineDied as error:
        raise EngineDied(f"{error}; {RESUMABLE}") from error


def _interrupted(consequence: str) -> int:
    _report(f"interrupted; {consequence}")
    return _INTERRUPTED


def _report(message: str) -> None:
    print(f"sfllava: {message}", file=sys.stderr)


def _read(source: str) -> list[Row]:
    if source == STREAM:
        return read_rows(sys.stdin, Path.cwd())
    path = Path(source)
    try:
        with path.open(encoding="utf-8") as file:
            return read_rows(file, path.absolute().parent)
    except OSError as error:
        raise BatchError(f"{source}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BatchError(f"{source}: is not UTF-8 text; give JSON Lines, one question per line") from error


def _answer(rows: list[Row], results: Results | InOrder, answering: Answering, done: int = 0) -> bool:
    """Answer ``rows``; return whether the user interrupted it."""
    # SIGTERM ends the command as Ctrl-C does, which keeps the answers.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    begin, failed, answered = time.monotonic(), 0, 0
    try:
        # Starts the engine, before the progress bar appears.
        answers = answering(rows) if rows else iter(())
        for row in tqdm(answers, total=done + len(rows), initial=done, unit="question", smoothing=0.05):
            # Leaves loading and warm-up out of the rate.
            begin = time.monotonic() if not answered else begin
            results.add(row)
            failed += "error" in row
            answered += 1
    except KeyboardInterrupt:
        return True
    seconds = max(time.monotonic() - begin, 1e-9)
    earlier = f", {done} before" if done else ""
    print(
        f"{answered - failed} answered, {failed} failed{earlier}; {answered / seconds:.1f} questions/s", file=sys.stderr
    )
    return False
