"""Run `sfllava compare` and `sfllava versus`."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sfllava_plugin.evaluation.compare import versus as contest
from sfllava_plugin.evaluation.compare.beside import beside
from sfllava_plugin.evaluation.compare.comparison import chosen
from sfllava_plugin.evaluation.compare.comparison import compare as compare_methods
from sfllava_plugin.evaluation.compare.errors import Unpaired
from sfllava_plugin.evaluation.compare.page import VIDEOS, write_page
from sfllava_plugin.evaluation.compare.report import as_json, write_json
from sfllava_plugin.evaluation.compare.runs import Method, read_methods
from sfllava_plugin.evaluation.compare.tables import markdown

_FAILED = 1
_INTERRUPTED = 130


@dataclass(frozen=True)
class Options:
    """What to compare, and where to write it.

    Attributes:
        tasks, reference: as in `comparison.compare`.
        published: one of `beside.SIZES`.
        json, page: files to write, besides the table on standard output.
        videos: the most videos whose frames the page shows.
        judge: base URL of the judge that judges again; None keeps the logged verdicts.
        judge_model: its model; by default the first one there.
    """

    tasks: Sequence[str] = ()
    reference: str | None = None
    published: str = "7b"
    json: Path | None = None
    page: Path | None = None
    videos: int = VIDEOS
    judge: str | None = None
    judge_model: str | None = None


def compare(folders: Sequence[str], options: Options) -> int:
    """Compare ``[LABEL=]FOLDER`` arguments; return the exit code.

    It is 1 if anything could not be compared.

    Raises:
        ValueError: wrong input.
    """

    def read() -> list[Method]:
        return [method for text in folders for method in read_methods(*_folder_and_label(text))]

    return _reported(read, options)


def versus(names: Sequence[str], job: contest.Job, options: Options, *, keep_going: bool = False) -> int:
    """Evaluate methods, then compare them; return the exit code.

    It is lmms-eval's if that failed.

    Raises:
        ValueError: wrong input.
    """
    contenders = [contest.parse(name) for name in names]
    contest.check(contenders, job)
    try:
        status = contest.evaluate(contenders, job, keep_going=keep_going)
    except KeyboardInterrupt:
        print("sfllava: interrupted; run the same command to continue", file=sys.stderr)
        return _INTERRUPTED
    methods = [method for contender in contenders if (method := job.method(contender))]
    if status and (not keep_going or len(methods) < 2) and any(job.missing(each) for each in contenders):
        return status
    options = replace(
        options, tasks=job.tasks, json=job.output / "comparison.json", page=job.output / "comparison.html"
    )
    return _reported(lambda: methods, options, job.output / "comparison.md") or status


def _reported(read: Callable[[], list[Method]], options: Options, table: Path | None = None) -> int:
    """Compare and write the reports; return the exit code."""
    try:
        methods = read()
        judge = _judge(methods, options)
        compared = compare_methods(methods, options.reference, options.tasks)
    except Unpaired as error:
        _say(str(error))
        return _FAILED
    published = beside(compared, options.published, judge)
    text = markdown(compared, published, judge)
    print(text, end="")
    if table:
        table.write_text(text, encoding="utf-8")
    if options.json:
        write_json(options.json, as_json(compared, published, judge))
    if options.page:
        write_page(options.page, compared, published, judge=judge, videos=options.videos)
    for reason in compared.not_comparable:
        _say(reason)
    return _FAILED if compared.not_comparable else 0


def _judge(methods: list[Method], options: Options) -> str | None:
    """Judge again if asked; return the judge's model."""
    if options.judge is None:
        return None
    from sfllava_plugin.evaluation.compare.judge import connect, judge_again

    judge = connect(options.judge, options.judge_model)
    judge_again(methods, judge, set(chosen(methods, options.tasks)))
    return judge.model


def _folder_and_label(text: str) -> tuple[Path, str | None]:
    label, equals, folder = text.partition("=")
    # A folder may have the sign in its name.
    return (Path(folder), label) if equals and label and not Path(text).exists() else (Path(text), None)


def _say(message: str) -> None:
    print(f"sfllava: {' '.join(message.split())}", file=sys.stderr)
