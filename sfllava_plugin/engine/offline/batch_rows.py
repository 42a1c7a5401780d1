"""Rows of `sfllava batch` through a runner in this process; replicas.py does it on a Ray cluster."""

from collections.abc import Iterable, Iterator
from typing import Any

from sfllava_plugin.batch.files import Id, Row
from sfllava_plugin.engine.offline.questions import DEFAULT_MAX_TOKENS, Answer, Failure, Question, Score


def answer_here(rows: list[Row], model: str, engine_arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Start an engine in this process; rows of answers as they finish."""
    from sfllava_plugin.engine.offline.runner import Runner

    return _answers(Runner(model, engine_arguments), rows)


def _answers(runner, rows: list[Row]) -> Iterator[dict[str, Any]]:
    for position, result in runner.answers(question_of(row) for row in rows):
        yield row_of(rows[position].id, result)


def answer_as_drawn(runner, videos: Iterable[list[Row]]) -> Iterator[dict[str, Any]]:
    """The same, of rows grouped by video that are drawn while the engine works."""
    drawn: dict[int, Id] = {}

    def questions():
        count = 0
        for rows in videos:
            drawn.update(enumerate((row.id for row in rows), count))
            count += len(rows)
            yield [question_of(row) for row in rows]

    for position, result in runner.answers_as_drawn(questions()):
        yield row_of(drawn.pop(position), result)


def question_of(row: Row) -> Question:
    return Question(row.video, row.question, row.options, row.max_tokens or DEFAULT_MAX_TOKENS)


def row_of(name: Id, result: Answer | Score | Failure) -> dict[str, Any]:
    """What stands in the file of answers."""
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
