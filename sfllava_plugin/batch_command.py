"""`sfllava batch`: from a file of questions, through an engine, to a file of answers."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from sfllava_plugin.batch import BatchError, InOrder, Results, Row, read_rows

if TYPE_CHECKING:
    from sfllava_plugin.engine.runner import Answer, Failure, Runner

STREAM = "-"
_INTERRUPTED = 130


def run(source: str, target: str, start: "Callable[[], Runner]") -> int:
    """Answer the questions in ``source`` that ``target`` does not answer yet; returns the exit code.

    Args:
        start: makes the engine; called only when there is something to ask.

    Raises:
        BatchError: a file that cannot be used.
    """
    rows = _read(source)
    if target == STREAM:
        results = InOrder(sys.stdout, rows)
        interrupted = _answer(rows, results, start)
    else:
        with Results(Path(target), rows) as results:
            missing = results.missing()
            interrupted = _answer(missing, results, start, done=len(rows) - len(missing))
            if not interrupted:
                results.finish()
    if interrupted:
        print("sfllava: interrupted; what was answered is kept, the same command goes on", file=sys.stderr)
        return _INTERRUPTED
    return 1 if results.failed else 0


def _read(source: str) -> list[Row]:
    if source == STREAM:
        return read_rows(sys.stdin, Path.cwd())
    path = Path(source)
    try:
        with path.open(encoding="utf-8") as file:
            return read_rows(file, path.absolute().parent)
    except (OSError, UnicodeDecodeError) as error:
        raise BatchError(f"{source}: cannot be read as a file of questions: {error}") from error


def _answer(rows: list[Row], results: Results | InOrder, start: "Callable[[], Runner]", done: int = 0) -> bool:
    """Ask ``rows``; returns whether the user interrupted it."""
    begin, failed, answered = time.monotonic(), 0, 0
    if rows:
        runner = start()
        begin = time.monotonic()
        try:
            for position, result in tqdm(
                runner.answers(_question(row) for row in rows),
                total=done + len(rows),
                initial=done,
                unit="question",
                smoothing=0.05,
            ):
                row = _row(rows[position].id, result)
                failed += "error" in row
                answered += 1
                results.add(row)
        except KeyboardInterrupt:
            return True
    seconds = max(time.monotonic() - begin, 1e-9)
    before = f", {done} before" if done else ""
    print(
        f"{answered - failed} answered, {failed} failed{before}; {answered / seconds:.1f} questions/s", file=sys.stderr
    )
    return False


def _question(row: Row):
    from sfllava_plugin.engine.runner import DEFAULT_MAX_TOKENS, Question

    return Question(row.video, row.question, row.options, row.max_tokens or DEFAULT_MAX_TOKENS)


def _row(name: str | int, result: "Answer | Failure") -> dict[str, Any]:
    from sfllava_plugin.engine.runner import Failure

    if isinstance(result, Failure):
        return {"id": name, "error": " ".join(str(result.error).split())}
    return {
        "id": name,
        "text": result.text,
        "answer": result.answer,
        "video_tokens": result.video_tokens,
        "prompt_tokens": len(result.prompt_token_ids),
        "output_tokens": len(result.token_ids),
    }
