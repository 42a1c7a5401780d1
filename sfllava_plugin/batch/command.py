"""`sfllava batch`: from a file of questions, through engines, to a file of answers."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sfllava_plugin.batch.files import BatchError, InOrder, Row, read_rows
from sfllava_plugin.batch.results import Results, keys_of
from sfllava_plugin.errors import EngineDied

STREAM = "-"
_INTERRUPTED = 130

#: Rows of questions in, rows of answers out as they finish; called only when there is something to ask.
Answering = Callable[[list[Row]], Iterator[dict[str, Any]]]


def run(
    source: str, target: str, answering: Answering, describe: Callable[[], dict[str, Any]], *, overwrite: bool = False
) -> int:
    """Answer the questions in ``source`` that ``target`` does not answer yet; returns the exit code.

    Args:
        describe: what all answers depend on; see provenance.py.
        overwrite: drop what ``target`` holds of other questions or of unknown origin.

    Raises:
        BatchError: a file that cannot be used.
        EngineDied: the engine ended before all was answered.
    """
    rows = _read(source)
    if target == STREAM:
        results = InOrder(sys.stdout, rows)
        if _answer(rows, results, answering):
            return _interrupted("what is not written yet is lost, and the same command asks everything again")
    else:
        kept = Results(Path(target), rows, keys_of(rows, describe()), overwrite=overwrite)
        with kept as results, _kept_if_engine_dies():
            missing = results.missing()
            if outdated := len(results.outdated):
                _say(f"{target}: {outdated} answers came from another model, question or video; they are asked again")
            if _answer(missing, results, answering, done=len(rows) - len(missing)):
                return _interrupted("what was answered is kept, the same command goes on")
            results.finish()
    return 1 if results.failed else 0


@contextmanager
def _kept_if_engine_dies() -> Iterator[None]:
    try:
        yield
    except EngineDied as error:
        raise EngineDied(f"{error}; what was answered is kept, the same command goes on") from error


def _interrupted(what: str) -> int:
    _say(f"interrupted; {what}")
    return _INTERRUPTED


def _say(what: str) -> None:
    print(f"sfllava: {what}", file=sys.stderr)


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
        raise BatchError(f"{source}: is not UTF-8 text; give JSON Lines, one question a line") from error


def _answer(rows: list[Row], results: Results | InOrder, answering: Answering, done: int = 0) -> bool:
    """Ask ``rows``; returns whether the user interrupted it."""
    # Asked to end, it ends as on Ctrl-C: what was answered is kept.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    begin, failed, answered = time.monotonic(), 0, 0
    try:
        # The engine's start comes before the bar.
        answers = answering(rows) if rows else iter(())
        for row in tqdm(answers, total=done + len(rows), initial=done, unit="question", smoothing=0.05):
            # The engine's start is not the questions' time.
            begin = time.monotonic() if not answered else begin
            results.add(row)
            failed += "error" in row
            answered += 1
    except KeyboardInterrupt:
        return True
    seconds = max(time.monotonic() - begin, 1e-9)
    before = f", {done} before" if done else ""
    print(
        f"{answered - failed} answered, {failed} failed{before}; {answered / seconds:.1f} questions/s", file=sys.stderr
    )
    return False
