"""The task `sfllava_shapes`, on clips generated on first use."""

from collections.abc import Callable, Sequence

import datasets

from sfllava_plugin.checkpoints.prepare import cache_folder
from sfllava_plugin.evaluation.documents import Document
from sfllava_plugin.prompts.choices import read_choice
from sfllava_plugin.shapes.clips import Clip, clip, edition, write_clip
from sfllava_plugin.shapes.questions import ShapesQuestion
from sfllava_plugin.shapes.scenes import random_scene


def open_ended(seeds: datasets.Dataset) -> datasets.Dataset:
    """One document for each open-ended question about the clips of ``seeds``."""
    return _rows(seeds, lambda made: made.open_ended)


def multiple_choice(seeds: datasets.Dataset) -> datasets.Dataset:
    """One document for each multiple-choice question about the clips of ``seeds``."""
    return _rows(seeds, lambda made: made.multiple_choice)


def doc_to_visual(doc: Document) -> list[str]:
    path = cache_folder().parent / "shapes" / edition() / f"{doc['seed']}.mp4"
    if not path.exists():
        write_clip(random_scene(doc["seed"]), path)
    return [str(path)]


def doc_to_text(doc: Document) -> str:
    """The prompt for models other than ours."""
    if not doc["options"]:
        return f"{doc['question']} Answer in one word."
    lines = (f"({letter}) {option}" for letter, option in zip("ABCDE", doc["options"], strict=False))
    return "\n".join([doc["question"], *lines, "Answer with the letter of the right option."])


def process_results(doc: Document, results: list[str]) -> dict[str, float]:
    """Score 1.0 or 0.0, as the total and as the question's kind."""
    reply = results[0].strip()
    if doc["options"]:
        right = read_choice(reply, doc["options"]) == doc["answer"]
    else:
        right = reply.lower().rstrip(".") == doc["answer"]
    return {"accuracy": float(right), doc["kind"].replace(" ", "_"): float(right)}


def _rows(seeds: datasets.Dataset, part: Callable[[Clip], Sequence[ShapesQuestion]]) -> datasets.Dataset:
    rows = []
    for seed in seeds["seed"]:
        for number, question in enumerate(part(clip(seed))):
            rows.append(
                {
                    "id": f"{seed}-{number}",
                    "seed": seed,
                    "kind": question.kind,
                    "question": question.text,
                    "options": list(question.options),
                    "answer": question.letter or question.answer,
                }
            )
    return datasets.Dataset.from_list(rows)
