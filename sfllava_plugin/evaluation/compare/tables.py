"""A comparison as Markdown."""

from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean

from sfllava_plugin.evaluation.compare.beside import Beside, Row
from sfllava_plugin.evaluation.compare.comparison import Cell, Compared, Comparison
from sfllava_plugin.evaluation.compare.published import NO_JUDGE
from sfllava_plugin.evaluation.compare.runs import Method, Sample

_NONE = "-"
#: Corrected p below which a difference has one star, or two.
_STARS = ((0.01, "**"), (0.05, "*"))


def markdown(compared: Compared, published: Beside, judge: str | None = None) -> str:
    """Write the methods, the published rows, and what a reader must know."""
    header = ["method", *(_title(each) for each in compared.comparisons)]
    header += ["tokens in", "tokens out", "calls", "s/question", "no answer"]
    rows = [_method_row(compared, method) for method in compared.methods]
    rows += [_published_row(row, len(header)) for row in published.rows]
    lines = [*_table(header, rows), "", *(f"- {line}" for line in _legend(compared, published, judge))]
    return "\n".join(lines) + "\n"


def _title(each: Comparison) -> str:
    unit = "%" if each.is_right else "score"
    return f"{each.task}<br>{each.metric}, {unit}, n = {len(each.paired.doc_ids)}"


def _method_row(compared: Compared, method: Method) -> list[str]:
    cells = [_cell(each, each.cells.get(method.label)) for each in compared.comparisons]
    name = f"**{method.label}**" if method.label == compared.reference else method.label
    return [name, *cells, *costs(compared, method)]


def _cell(each: Comparison, cell: Cell | None) -> str:
    if cell is None:
        return _NONE
    digits = 1 if each.is_right else 2
    text = f"{cell.value:.{digits}f}"
    difference = cell.difference
    if difference is None:
        return text
    stars = next((stars for limit, stars in _STARS if difference.p_holm < limit), "").replace("*", r"\*")
    if difference.low is None or difference.high is None or difference.visible is None:
        return f"{text} ({signed(difference.value, digits)}){stars}"
    interval = f"{signed(difference.low, digits)} to {signed(difference.high, digits)}"
    return f"{text} ({signed(difference.value, digits)}, {interval}){stars}"


def signed(number: float, digits: int) -> str:
    """Format a difference; without a sign if it rounds to zero."""
    text = f"{number:+.{digits}f}"
    return text if float(text) else text[1:]


def costs(compared: Compared, method: Method) -> list[str]:
    """Return the mean costs of a question, and the number of empty replies.

    Costs are tokens in and out, calls, and seconds.
    """
    tasks = list(dict.fromkeys(each.task for each in compared.comparisons if method.label in each.cells))
    samples = [sample for task in tasks for sample in method.tasks[task].samples.values()]
    runs = [method.tasks[task] for task in tasks]
    seconds = [run.seconds for run in runs if run.seconds is not None]
    loading = " with loading" if any(run.has_loading for run in runs) else ""
    return [
        _mean([sample.input_tokens for sample in samples], 0),
        _mean([sample.output_tokens for sample in samples], 1),
        _mean([sample.calls for sample in samples], 1).removesuffix(".0"),
        f"{fmean(seconds):.3g}{loading}" if seconds and len(seconds) == len(runs) else _NONE,
        str(unanswered(samples)),
    ]


def unanswered(samples: Iterable[Sample]) -> int:
    """Count empty replies."""
    return sum(not sample.reply.strip() for sample in samples)


def _mean(numbers: Sequence[int | None], digits: int) -> str:
    known = [number for number in numbers if number is not None]
    return f"{fmean(known):.{digits}f}" if known else _NONE


def _published_row(row: Row, width: int) -> list[str]:
    size = "" if row.size == "api" else f" {row.size.upper()}"
    cells = [f"{figure.value:g}" if figure else _NONE for figure in row.figures]
    name = f"{row.system}{size} (published, not measured here)"
    return [name, *cells, *[_NONE] * (width - len(cells) - 1)]


def _legend(compared: Compared, published: Beside, judge: str | None) -> Iterator[str]:
    yield (
        f"In brackets: difference to **{compared.reference}**, and its 95 % interval (bootstrap over videos). "
        r"\* p < 0.05, \*\* p < 0.01, corrected after Holm for all differences shown; exact McNemar test for right and "
        "wrong, permutation over videos for scores."
    )
    for each in compared.comparisons:
        where = f"{each.task}, {each.metric}"
        for label, cell in each.cells.items():
            if cell.difference:
                yield f"{where}, {label}: {_tested(each, cell)}"
    if judge:
        yield f"{judge} judged the answers of every method."
    yield from compared.notes
    for reason in compared.not_comparable:
        yield f"Left out: {reason}."
    for warning in published.warnings:
        yield f"Not the same as published: {warning}."
    for row in published.rows:
        yield _source(row)


def _tested(each: Comparison, cell: Cell) -> str:
    difference = cell.difference
    assert difference is not None
    digits = 1 if each.is_right else 2
    text = f"p = {difference.p:.3g}, corrected {difference.p_holm:.3g}"
    if difference.b is not None:
        text = f"{difference.b} right where the reference is wrong, {difference.c} the other way round; {text}"
    if not difference.differs:
        return "all values are the same."
    if difference.visible is None:
        return f"{text}."
    unit = " points" if each.is_right else ""
    clusters = f"{each.videos} videos" if each.paired.by_video else f"{each.videos} questions"
    return f"{text}. With these {clusters} a difference below {difference.visible:.{digits}f}{unit} cannot be seen."


def _source(row: Row) -> str:
    splits = dict.fromkeys(f"{figure.task}: {figure.split}" for figure in row.figures if figure)
    judges = dict.fromkeys(figure.judge for figure in row.figures if figure and figure.judge != NO_JUDGE)
    judge = f"; judge: {', '.join(judges)}" if judges else ""
    note = f"; {row.note}" if row.note else ""
    size = "" if row.size == "api" else f" {row.size.upper()}"
    return f"{row.system}{size}: {row.source}; {', '.join(splits)}{judge}{note}."


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for line in (header, ["---"] * len(header), *rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |"
