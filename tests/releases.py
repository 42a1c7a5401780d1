"""The question files and videos of the benchmarks that lmms-eval lacks, as their authors release them."""

import csv
import json
from pathlib import Path

from PIL import Image

from sfllava_plugin.shapes import clips
from sfllava_plugin.video.decode import decode
from tests import stock_tasks

_NEXTQA = ("video", "frame_count", "width", "height", "question", "answer", "qid", "type")
_INTENTQA = ("video_id", "frame_count", "width", "height", "question", "answer", "qid", "type")

#: Questions, videos and the first number of the splits that are checked when loaded, from the releases.
SPLITS = {
    "nextqa/val.csv": (4996, 570, 0),
    "intentqa/val.csv": (2044, 524, 0),
    "msvd_qa/val_qa.json": (6415, 245, 30933),
    "msrvtt_qa/val_qa.json": (12278, 497, 158581),
    "tgif_frameqa/Test_frameqa_question.csv": (13691, len(stock_tasks.SEEDS), 0),
}


def write_releases(folder: Path) -> None:
    """Write the benchmarks that lmms-eval lacks; ``folder`` is SFLLAVA_DATA.

    Only the first questions of each have videos.
    """
    for place, name in (
        ("msvd_qa/YouTubeClips", "youtube{}_1_9.avi"),
        ("msrvtt_qa/videos", "video{}.mp4"),
        ("intentqa/videos", "{}.mp4"),
        ("nextqa/NExTVideo", "{}.mp4"),
    ):
        for seed in stock_tasks.SEEDS:
            clips.write_clip(clips.clip(seed).scene, folder / place / name.format(seed))
    gifs = folder / "tgif_frameqa" / "gifs"
    gifs.mkdir(parents=True)
    for seed in stock_tasks.SEEDS:
        frames = decode(folder / "intentqa" / "videos" / f"{seed}.mp4", num_frames=60, image_size=96).frames
        first, *others = [Image.fromarray(frame) for frame in frames]
        first.save(gifs / f"tumblr_{seed}_400.gif", save_all=True, append_images=others, duration=100)
    write_questions(folder)


def write_questions(folder: Path) -> None:
    """Write the question files of all releases, in full length."""
    for place, number in [("msvd_qa/test_qa.json", 3), ("msrvtt_qa/test_qa.json", 3), ("intentqa/test.csv", 3)]:
        write_split(folder / place, number, number, 0)
    for place, numbers in SPLITS.items():
        write_split(folder / place, *numbers)
    videos = max(videos for _, videos, _ in SPLITS.values())
    mapping = "".join(f"youtube{video}_1_9 vid{video}\n" for video in range(videos))
    (folder / "msvd_qa" / "youtube_mapping.txt").write_text(mapping)


def write_split(path: Path, number: int, videos: int, first: int) -> None:
    """Write ``number`` questions about ``videos`` videos, in the form of the release."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = [clips.clip(seed) for seed in stock_tasks.SEEDS]
    words = [(row % videos, made[row % len(made)].open_ended[0]) for row in range(number)]
    if path.suffix == ".json":
        rows = [
            {"answer": asked.answer, "id": first + row, "question": asked.text, "video_id": video}
            for row, (video, asked) in enumerate(words)
        ]
        path.write_text(json.dumps(rows))
        return
    if path.parent.name == "tgif_frameqa":
        header = "gif_name\tquestion\tanswer\ttype\tvid_id\tkey\tdescription"
        lines = [
            f"tumblr_{video}_400\t{asked.text.rstrip('?')} ?\t{asked.answer}\t2\tFRAMEQA{row}\t{row}\ta shape ."
            for row, (video, asked) in enumerate(words)
        ]
        path.write_text("\n".join([header, *lines]) + "\n")
        return
    options = [stock_tasks.options_of(clip.multiple_choice[0], 5) for clip in made]
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow([*(_NEXTQA if path.parent.name == "nextqa" else _INTENTQA), "a0", "a1", "a2", "a3", "a4"])
        for row in range(number):
            (texts, right), asked = options[row % len(made)], made[row % len(made)].multiple_choice[0]
            table.writerow([row % videos, 16, 96, 96, asked.text.rstrip("?"), right, row, "CW", *texts])
