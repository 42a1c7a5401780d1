"""Clips of the shapes' world as video files, with their questions."""

import hashlib
import json
import os
import random
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2

from .drawing import draw
from .questions import WITHOUT_OPTIONS, ShapesQuestion, multiple_choice, questions
from .scenes import Scene, random_scene

#: Frames of a clip, frames per second, and side of the square picture in pixels.
FRAMES, RATE, SIDE = 64, 16, 192
#: Training uses seeds from here on: every seed below is held out.
TRAINING_SEEDS = 1_000_000


@dataclass(frozen=True)
class Clip:
    """A scene with its open-ended and multiple-choice questions."""

    scene: Scene
    open_ended: tuple[ShapesQuestion, ...]
    multiple_choice: tuple[ShapesQuestion, ...]


def clip(seed: int, *, one_shape: bool = False) -> Clip:
    """Make the clip of a seed: always the same scene and questions."""
    scene, rng = random_scene(seed, one_shape=one_shape), random.Random(f"questions {seed}")
    asked = questions(scene, rng)
    with_options = [question for question in asked if question.kind not in WITHOUT_OPTIONS]
    return Clip(scene, tuple(asked), tuple(multiple_choice(question, rng) for question in with_options))


def moment(frame: int) -> float:
    """Time of a source frame, as a fraction of the clip."""
    return (frame + 0.5) / FRAMES


def write_folder(folder: str | os.PathLike[str], seeds: Iterable[int]) -> int:
    """Write clips, ``questions.jsonl`` and ``truth.jsonl``; return the number of questions.

    `sfllava batch` reads the questions. An id is clip-question, with ``-choice`` appended for multiple choice, whose
    truth is a letter.

    Raises:
        OSError: a file cannot be written.
    """
    folder = Path(folder)
    asked, truth = [], []
    for seed in seeds:
        made = clip(seed)
        video = write_clip(made.scene, folder / f"{seed}.mp4").name
        for ending, group in (("", made.open_ended), ("-choice", made.multiple_choice)):
            for number, question in enumerate(group):
                name = {"id": f"{seed}-{number}{ending}"}
                options = {"options": question.options} if question.options else {}
                asked.append(name | {"video": video, "question": question.text} | options)
                known = {"kind": question.kind, "shapes": len(made.scene.shapes)}
                truth.append(name | known | {"answer": question.letter or question.answer})
    for file, rows in (("questions.jsonl", asked), ("truth.jsonl", truth)):
        (folder / file).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return len(asked)


def edition() -> str:
    """Hash the code that makes clips.

    Cached clips of another edition may show something else.
    """
    digest = hashlib.sha256()
    for name in ("scenes.py", "drawing.py", "clips.py"):
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()[:12]


def write_clip(scene: Scene, path: str | os.PathLike[str]) -> Path:
    """Write a scene as an mp4 file (MPEG-4 video), atomically.

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".clip-", dir=path.parent) as folder:
        aside = Path(folder) / path.name
        writer = cv2.VideoWriter(str(aside), cv2.VideoWriter.fourcc(*"mp4v"), RATE, (SIDE, SIDE))
        if not writer.isOpened():
            raise OSError(f"{path}: OpenCV cannot write mp4 here")
        for picture in draw(scene, [moment(frame) for frame in range(FRAMES)], SIDE):
            writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        writer.release()
        aside.replace(path)
    return path
