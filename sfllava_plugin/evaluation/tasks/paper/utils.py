"""The paper's benchmarks that lmms-eval lacks, from their public releases.

The files belong in the folder named by SFLLAVA_DATA, or else in lmms-eval's own (HF_HOME):

    nextqa/         val.csv                                           NExTVideo/<number>.mp4
    intentqa/       val.csv, test.csv                                 videos/<number>.mp4
    msvd_qa/        val_qa.json, test_qa.json, youtube_mapping.txt    YouTubeClips/<name>.avi
    msrvtt_qa/      val_qa.json, test_qa.json                         videos/video<number>.mp4
    tgif_frameqa/   Test_frameqa_question.csv                         gifs/<name>.gif

Videos may have another extension, or be in subfolders. The paper's figures are those of the validation splits, where
these exist: splits.py knows what is in them. Open-ended answers are judged as in stock activitynetqa.
"""

import csv
import json
import os
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import datasets

from sfllava_plugin.evaluation import splits
from sfllava_plugin.evaluation.documents import Document
from sfllava_plugin.prompts.choices import read_choice

_VIDEO_ENDINGS = {".avi", ".gif", ".mkv", ".mov", ".mp4", ".webm"}
_LETTERS = "ABCDE"
_NO_VERDICT = ["no", 0]

#: Identifier, name of the video, question, answer.
Row = tuple[str, str, str, str]
#: A judged answer, as stock activitynetqa keeps it.
Verdict = dict[str, Any]


def msvd_qa(release: datasets.Dataset) -> datasets.Dataset:
    return _msvd_qa("test_qa.json")


def msvd_qa_val(release: datasets.Dataset) -> datasets.Dataset:
    return _checked("msvd_qa_val", _msvd_qa("val_qa.json"))


def msrvtt_qa(release: datasets.Dataset) -> datasets.Dataset:
    return _msrvtt_qa("test_qa.json")


def msrvtt_qa_val(release: datasets.Dataset) -> datasets.Dataset:
    return _checked("msrvtt_qa_val", _msrvtt_qa("val_qa.json"))


def tgif_frameqa(release: datasets.Dataset) -> datasets.Dataset:
    """YunseokJANG/tgif-qa: a .csv file, but separated by tabs."""
    table = csv.DictReader(_read("tgif_frameqa", "Test_frameqa_question.csv").splitlines(), delimiter="\t")
    rows = ((str(number), row["gif_name"], row["question"], row["answer"]) for number, row in enumerate(table))
    return _checked("tgif_frameqa", _open_ended("tgif_frameqa", rows))


def intentqa(release: datasets.Dataset) -> datasets.Dataset:
    return _multiple_choice("intentqa", "test.csv", "video_id")


def intentqa_val(release: datasets.Dataset) -> datasets.Dataset:
    return _checked("intentqa_val", _multiple_choice("intentqa", "val.csv", "video_id"))


def nextqa_mc_val(release: datasets.Dataset) -> datasets.Dataset:
    return _checked("nextqa_mc_val", _multiple_choice("nextqa", "val.csv", "video", str.strip))


def _checked(task: str, rows: datasets.Dataset) -> datasets.Dataset:
    splits.check(task, rows)
    return rows


def _msvd_qa(file: str) -> datasets.Dataset:
    """xudejing/video-question-answering: videos by number, which a mapping file turns into names."""
    names = {}
    for line in _read("msvd_qa", "youtube_mapping.txt").splitlines():
        name, number = line.split()
        names[number] = name
    rows = json.loads(_read("msvd_qa", file))
    return _open_ended(
        "msvd_qa", ((str(row["id"]), names[f"vid{row['video_id']}"], row["question"], row["answer"]) for row in rows)
    )


def _msrvtt_qa(file: str) -> datasets.Dataset:
    """xudejing/video-question-answering: videos by number, in files named video<number>."""
    rows = json.loads(_read("msrvtt_qa", file))
    return _open_ended(
        "msrvtt_qa", ((str(row["id"]), f"video{row['video_id']}", row["question"], row["answer"]) for row in rows)
    )


def _marked(question: str) -> str:
    """End a question with one question mark; releases have a space before it, or none at all."""
    return f"{question.strip().rstrip('?').strip()}?"


def _multiple_choice(release: str, file: str, video: str, asked: Callable[[str], str] = _marked) -> datasets.Dataset:
    """NExT-QA's choices and JoseponLee/IntentQA: five options, a0 to a4, and the correct one's number.

    Args:
        video: the column with the video's name.
        asked: the form of a question; NExT-QA's stay without a question mark, as in the stock task.
    """
    table = csv.DictReader(_read(release, file).splitlines())
    return datasets.Dataset.from_list(
        [
            {
                "id": f"{row[video]}-{row['qid']}",
                "release": release,
                "video": row[video],
                "question": asked(row["question"]),
                **{f"a{number}": row[f"a{number}"] for number in range(5)},
                "answer": _LETTERS[int(row["answer"])],
                "type": row["type"],
            }
            for row in table
        ]
    )


def doc_to_visual(doc: Document) -> list[str]:
    videos = _videos(doc["release"])
    # The path of a missing video still appears in the error.
    return [videos.get(doc["video"]) or str(_folder(doc["release"]) / doc["video"])]


def doc_to_text(doc: Document) -> str:
    """The prompt for models other than ours."""
    if "a0" not in doc:
        return str(doc["question"])
    lines = [f"{letter}. {doc[f'a{number}']}" for number, letter in enumerate(_LETTERS)]
    return "\n".join([doc["question"], *lines, "Answer with the option's letter from the given choices directly."])


def accuracy_by_letter(doc: Document, results: list[str]) -> dict[str, float]:
    """Score 1.0 if the reply names the correct option."""
    return {"accuracy": float(_is_correct(doc, results[0]))}


def match_by_letter(doc: Document, results: list[str]) -> dict[str, bool]:
    """Tell whether the reply names the correct option, under the stock task's name."""
    return {"exact_match": _is_correct(doc, results[0])}


def _is_correct(doc: Document, reply: str) -> bool:
    return bool(read_choice(reply, [doc[f"a{number}"] for number in range(5)]) == doc["answer"])


def judged(doc: Document, results: list[str]) -> dict[str, Verdict]:
    """The judge's verdict (yes or no) and score (0 to 5).

    Requested and parsed as in stock activitynetqa.
    """
    judge = _judge()
    review, _ = judge.get_eval(doc["question"], doc["answer"], results[0], 64)
    # parse_score returns None for a reply it cannot parse.
    verdict, score_ = (judge.parse_score(review) if review else None) or _NO_VERDICT
    entry = {"Correctness": verdict, "score": score_, "pred": results[0]} | {
        key: doc[key] for key in ("id", "question", "answer")
    }
    return {"gpt_eval_accuracy": entry, "gpt_eval_score": entry}


def accuracy(results: list[Verdict], args: Any = None) -> float:
    """Percentage of answers that the judge calls correct."""
    percentage: float = _judge().activitynetqa_aggregate_accuracy(results, args)
    return percentage


def score(results: list[Verdict], args: Any = None) -> float:
    """The judge's mean score, 0 to 5."""
    mean: float = _judge().activitynetqa_aggregate_score(results, args)
    return mean


def _judge() -> ModuleType:
    # The import reads the variable.
    os.environ.setdefault("HF_HOME", str(_data()))
    from lmms_eval.tasks.activitynetqa import utils

    return utils


def _open_ended(release: str, rows: Iterable[Row]) -> datasets.Dataset:
    return datasets.Dataset.from_list(
        [
            {
                "id": identifier,
                "release": release,
                "video": video,
                "question": _marked(question),
                "answer": answer,
            }
            for identifier, video, question, answer in rows
        ]
    )


def _home() -> Path:
    return Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface").expanduser()


def _data() -> Path:
    return Path(os.environ.get("SFLLAVA_DATA") or _home()).expanduser()


def _folder(release: str) -> Path:
    return _data() / release


def _read(release: str, name: str) -> str:
    path = _folder(release) / name
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise FileNotFoundError(
            f"{path} cannot be read: download it from the release of {release}, and set SFLLAVA_DATA to the folder "
            f"that contains {release}/"
        ) from error


@cache
def _videos(release: str) -> dict[str, str]:
    """Paths of the videos in a release's folder, by name without extension.

    The stock tasks of NExT-QA keep its videos under HF_HOME.
    """
    folders = dict.fromkeys((_home() / release, _folder(release)))
    found = [path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix.lower() in _VIDEO_ENDINGS]
    return {path.stem: str(path) for path in found}
