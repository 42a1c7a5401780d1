"""Fake data of stock lmms-eval tasks, as if downloaded.

The rows are questions about clips of coloured shapes, in each task's own columns.
"""

import hashlib
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets.arrow_writer import ArrowWriter
from datasets.naming import camelcase_to_snakecase
from PIL import Image

from sfllava_plugin.shapes import clips

TASKS = (
    "nextqa_mc_test",
    "egoschema_subset",
    "egoschema_subset_mcppl",
    "videomme",
    "mvbench_action_count",
    "tempcompass_multi_choice",
    "mlvu_dev",
    "perceptiontest_val_mc",
    "activitynetqa",
    "videochatgpt_gen",
    "videochatgpt_temporal",
    "videochatgpt_consistency",
    "video_dc499",
)
#: Tasks about pictures; one question of the second has none.
PICTURES = ("mme", "scienceqa_img")
#: Tasks with lettered replies.
BY_LETTER = TASKS[:2] + TASKS[3:8]
SEEDS = (0, 1, 2)
_LETTERS = "ABCDE"
_SPARE = ("a tree", "nothing at all", "two trees", "the sea", "a house")


def write(home: Path) -> None:
    """Write everything under ``home``, for use as HF_HOME."""
    made = [clips.clip(seed) for seed in SEEDS]
    for place in (
        "egoschema/videos",
        "nextqa/NExTVideo",
        "videomme/data",
        "mvbench_video/perception/videos",
        "activitynetqa/all_test/v_",
        "videochatgpt/Test_Videos",
        "tempcompass/videos",
        "mlvu",
        "perceptiontest_val/videos",
    ):
        folder, prefix = (place.rsplit("/", 1)) if place.endswith("_") else (place, "")
        for seed, clip in zip(SEEDS, made, strict=True):
            clips.write_clip(clip.scene, home / folder / f"{prefix}{seed}.mp4")
    for repository, config, split, rows in _tables(made):
        _write_rows(home, repository, config, split, rows)


def _tables(made: list) -> list[tuple[str, str, str, list[dict[str, Any]]]]:
    choice = [(str(seed), clip.multiple_choice[0]) for seed, clip in zip(SEEDS, made, strict=True)]
    words = [(str(seed), clip.open_ended[0]) for seed, clip in zip(SEEDS, made, strict=True)]
    fives = [(video, question, *options_of(question, 5)) for video, question in choice]
    fours = [(video, question, *options_of(question, 4)) for video, question in choice]
    threes = [(video, question, *options_of(question, 3)) for video, question in choice]
    return [
        (
            "lmms-eval/NExTQA",
            "MC",
            "test",
            [
                {"video": int(video), "question": asked.text, "answer": right, "qid": 0, "type": "CW"}
                | {f"a{number}": option for number, option in enumerate(options)}
                for video, asked, options, right in fives
            ],
        ),
        (
            "lmms-eval/egoschema",
            "Subset",
            "test",
            [
                {"video_idx": video, "question": asked.text, "answer": str(right), "option": _lettered(options)}
                for video, asked, options, right in fives
            ],
        ),
        (
            "lmms-eval/Video-MME",
            "default",
            "test",
            [
                {
                    "videoID": video,
                    "question_id": video,
                    "question": asked.text,
                    "options": _lettered(options),
                    "answer": _LETTERS[right],
                    "duration": "short",
                    "domain": "Knowledge",
                    "sub_category": "Humanity & History",
                    "task_type": "Counting Problem",
                }
                for video, asked, options, right in fours
            ],
        ),
        (
            "OpenGVLab/MVBench",
            "action_count",
            "train",
            [
                {"video": f"{video}.mp4", "question": asked.text, "candidates": options, "answer": options[right]}
                for video, asked, options, right in fours
            ],
        ),
        (
            "lmms-eval/TempCompass",
            "multi-choice",
            "test",
            [
                {
                    "video_id": video,
                    "question": "\n".join([asked.text, *_lettered(options)]),
                    "answer": _lettered(options)[right],
                    "dim": "action",
                }
                for video, asked, options, right in fours
            ],
        ),
        (
            "sy1998/MLVU_dev",
            "default",
            "test",
            [
                {
                    "video_name": f"{video}.mp4",
                    "question": "\n".join(
                        [asked.text, *(f"({a}) {b}" for a, b in zip(_LETTERS, options, strict=False))]
                    ),
                    "answer": _LETTERS[right],
                    "task_type": "count",
                }
                for video, asked, options, right in fours
            ],
        ),
        (
            "lmms-eval/PerceptionTest_Val",
            "mc_question_val",
            "validation",
            [
                {"video_name": video, "question": asked.text, "options": options, "answer_id": str(right)}
                for video, asked, options, right in threes
            ],
        ),
        (
            "lmms-eval/ActivityNetQA",
            "default",
            "test",
            [
                {
                    "video_name": video,
                    "question": asked.text.rstrip("?"),
                    "question_id": video,
                    "answer": asked.answer,
                    "type": "3",
                }
                for video, asked in words
            ],
        ),
        *(
            (
                "lmms-eval/VideoChatGPT",
                config,
                "test",
                [
                    {
                        "video_name": video,
                        "question": "None" if config == "Consistency" else asked.text,
                        "question_1": asked.text if config == "Consistency" else "None",
                        "question_2": asked.text if config == "Consistency" else "None",
                        "answer": asked.answer,
                    }
                    for video, asked in words
                ],
            )
            for config in ("Generic", "Temporal", "Consistency")
        ),
        (
            "lmms-lab-encoder/MME",
            "default",
            "test",
            [_yes_no(seed, answer) for seed in SEEDS for answer in ("Yes", "No")],
        ),
        (
            "lmms-lab-encoder/ScienceQA",
            "ScienceQA-IMG",
            "test",
            [
                {"image": None if video == "1" else _picture(int(video)), "question": asked.text, "hint": ""}
                | {"choices": options, "answer": right}
                for video, asked, options, right in fours
            ],
        ),
        (
            "lmms-lab/VideoDetailDescription",
            "default",
            "test",
            [{"video_name": video, "question": asked.text, "answer": asked.answer} for video, asked in words],
        ),
    ]


def _picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (60 + seed, 80, 3), np.uint8))


def _yes_no(seed: int, answer: str) -> dict[str, Any]:
    row = {"question_id": f"existence/{seed}.png", "image": _picture(seed), "answer": answer, "category": "existence"}
    return row | {"question": f"Is there a {'shape' if answer == 'Yes' else 'tree'}? Please answer yes or no."}


def options_of(question, count: int) -> tuple[list[str], int]:
    """Make ``count`` options, including the correct one; also its number."""
    right = _LETTERS.index(question.letter)
    others = [option for number, option in enumerate(question.options) if number != right]
    wrong = (others + [spare for spare in _SPARE if spare not in question.options])[: count - 1]
    place = right % count
    return [*wrong[:place], question.options[right], *wrong[place:]], place


def _lettered(options: list[str]) -> list[str]:
    return [f"{letter}. {option}" for letter, option in zip(_LETTERS, options, strict=False)]


def _write_rows(home: Path, repository: str, config: str, split: str, rows: list[dict[str, Any]]) -> None:
    """Write a split where `datasets` looks when offline."""
    name = camelcase_to_snakecase(repository.split("/")[1])
    organisation = repository.split("/")[0]
    fingerprint = hashlib.sha1(f"{repository}{config}".encode()).hexdigest()
    folder = home / "datasets" / f"{organisation}___{name}" / config / "0.0.0" / fingerprint
    folder.mkdir(parents=True, exist_ok=True)
    features = datasets.Dataset.from_list(rows).features
    with ArrowWriter(path=str(folder / f"{name}-{split}.arrow"), features=features) as writer:
        for row in rows:
            writer.write(row)
        examples, size = writer.finalize()
    info = datasets.DatasetInfo(
        features=features,
        builder_name="parquet",
        dataset_name=name,
        config_name=config,
        version="0.0.0",
        splits={split: {"name": split, "num_bytes": size, "num_examples": examples, "dataset_name": name}},
        download_size=size,
        dataset_size=size,
    )
    info.write_to_directory(str(folder))
