"""A comparison as one HTML page: every question with all its answers.

The page is one file and needs no network.
"""

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from sfllava_plugin._atomic import atomic_write
from sfllava_plugin.evaluation.compare.beside import Beside
from sfllava_plugin.evaluation.compare.comparison import Compared, Comparison
from sfllava_plugin.evaluation.compare.frames import thumbnails
from sfllava_plugin.evaluation.compare.runs import Method
from sfllava_plugin.evaluation.compare.tables import costs, signed

#: Videos whose frames the page holds, by default: about 40 kB each.
VIDEOS = 100


def write_page(
    path: Path, compared: Compared, published: Beside, *, judge: str | None = None, videos: int = VIDEOS
) -> None:
    """Write the page.

    Args:
        videos: the most videos to show frames of; those with disagreements only.

    Raises:
        OSError: it cannot be written.
    """
    environment = Environment(
        loader=PackageLoader(__package__, "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["signed"] = signed
    # Methods mostly send the same prompts: the page holds each once.
    prompts: dict[str, int] = {}
    questions = [row for each in _first_metrics(compared) for row in _questions(compared, each, prompts)]
    shown = dict.fromkeys(row["video"] for row in questions if row["video"] and row["disagree"])
    page = environment.get_template("page.html.jinja").render(
        compared=compared,
        published=published,
        judge=judge,
        costs={method.label: costs(compared, method) for method in compared.methods},
        labels=[method.label for method in compared.methods],
        questions=questions,
        prompts=list(prompts),
        frames={video: found for video, found in thumbnails(list(shown)[:videos]).items() if found},
    )
    with atomic_write(path) as file:
        file.write(page.encode())


def _first_metrics(compared: Compared) -> list[Comparison]:
    """Choose a metric for each task: right or wrong where there is one."""
    first: dict[str, Comparison] = {}
    for each in sorted(compared.comparisons, key=lambda each: not each.is_right):
        first.setdefault(each.task, each)
    return list(first.values())


def _questions(compared: Compared, each: Comparison, numbers: dict[str, int]) -> list[dict[str, Any]]:
    """List a task's questions; prompts are given by their ``numbers``, which grow."""
    methods = [method for method in compared.methods if method.label in each.cells]
    known = {method.label: _videos(method, each.task) for method in methods}
    rows = []
    for place, doc_id in enumerate(each.paired.doc_ids):
        samples = [method.tasks[each.task].samples[doc_id] for method in methods]
        values = [float(each.values[method.label][place]) for method in methods]
        sent = [_prompt(method, each, doc_id) for method in methods]
        prompts = [None if text is None else numbers.setdefault(text, len(numbers)) for text in sent]
        videos = (known[method.label].get(doc_id) for method in methods)
        rows.append(
            {
                "task": each.task,
                "id": doc_id,
                "input": samples[0].input,
                "target": samples[0].target,
                "isRight": each.is_right,
                "disagree": len(set(values)) > 1,
                "video": next((video for video in videos if video), None),
                "answers": [
                    {
                        "label": method.label,
                        "reply": sample.reply,
                        "value": value,
                        "prompt": prompt,
                    }
                    for method, sample, value, prompt in zip(methods, samples, values, prompts, strict=True)
                ],
            }
        )
    return rows


def _videos(method: Method, task: str) -> dict[Any, str]:
    trace = method.tasks[task].trace
    return {doc_id: str(row["video"]) for doc_id, row in trace.rows.items()} if trace else {}


def _prompt(method: Method, each: Comparison, doc_id: Any) -> str | None:
    trace = method.tasks[each.task].trace
    row = trace.rows.get(doc_id) if trace else None
    return str(row["prompt"]) if row and "prompt" in row else None
