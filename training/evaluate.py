"""Measure sf-llava-tiny on held-out clips: python -m training.evaluate [--clips 500]

All figures come from mp4 files and `sfllava batch`, including those with other frames, other pathways, or reversed and
shuffled clips. Only the ablation of a pathway patches the model, whose tokens it sets to zero. Writes evaluation.json
and prints the tables of the model card.
"""

import argparse
import json
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2

from sfllava_plugin._environment import quiet

quiet()

from sfllava_plugin.shapes import clips
from sfllava_plugin.shapes.questions import FAST_ONLY
from sfllava_plugin.tokens.slowfast import SlowFast

MODEL = "sf-llava-tiny"
#: Held out: training uses seeds from clips.TRAINING_SEEDS on, and evaluates itself on seeds below 1000.
FIRST_SEED = 10_000
_OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}

Replies = dict[str, str]
Truth = dict[str, dict]


def batch(folder: Path, name: str, engine: dict | None = None) -> Replies:
    """Run `sfllava batch`; return replies by id."""
    out = folder / f"answers-{name}.jsonl"
    command = [sys.executable, "-m", "sfllava_plugin.cli", "batch", str(folder / "questions.jsonl"), "-o", str(out)]
    subprocess.run([*command, "--model", MODEL, "--engine-args", json.dumps(engine or {})], check=True)
    rows = map(json.loads, out.read_text(encoding="utf-8").splitlines())
    return {row["id"]: row["answer"] or row["text"] for row in rows}


def truth_of(folder: Path) -> Truth:
    rows = map(json.loads, (folder / "truth.jsonl").read_text(encoding="utf-8").splitlines())
    return {row["id"]: row for row in rows}


def share(replies: Replies, truth: Truth, chosen: Callable[[dict], bool] = lambda row: True) -> float:
    """Share of the chosen questions answered correctly, 0 to 1."""
    right = [replies[name] == row["answer"] for name, row in truth.items() if chosen(row)]
    return round(sum(right) / len(right), 4)


def by_kind(replies: Replies, truth: Truth) -> dict[str, dict[str, float]]:
    """Share of correct answers by kind, in three groups of questions."""
    groups: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for name, row in truth.items():
        column = "multiple choice" if name.endswith("-choice") else ("one shape", "two shapes")[row["shapes"] - 1]
        for kind in (row["kind"], "all"):
            groups[kind][column].append(replies[name] == row["answer"])
    return {kind: {c: round(sum(v) / len(v), 4) for c, v in columns.items()} for kind, columns in groups.items()}


def changed_clips(source: Path, target: Path, order: Callable[[list], list]) -> Path:
    """Write the clips with frames in another order, and their questions."""
    target.mkdir(parents=True, exist_ok=True)
    for path in source.glob("*.mp4"):
        reader, frames = cv2.VideoCapture(str(path)), []
        while (read := reader.read())[0]:
            frames.append(read[1])
        size = (clips.SIDE, clips.SIDE)
        writer = cv2.VideoWriter(str(target / path.name), cv2.VideoWriter.fourcc(*"mp4v"), clips.RATE, size)
        for frame in order(frames):
            writer.write(frame)
        writer.release()
    for name in ("questions.jsonl", "truth.jsonl"):
        (target / name).write_bytes((source / name).read_bytes())
    return target


def without(folder: Path, pathway: str) -> Replies:
    """Answer with one pathway's tokens set to zero; return replies by id."""
    from sfllava_plugin.batch.files import read_rows
    from sfllava_plugin.engine.offline import Question, Runner

    tokens_of = SlowFast.tokens

    def zeroed(layout, chunks, frames, *others):
        tokens = tokens_of(layout, chunks, frames, *others)
        slow = len(tokens) - frames * layout.fast.height * layout.fast.width
        (tokens[:slow] if pathway == "slow" else tokens[slow:]).zero_()
        return tokens

    with (folder / "questions.jsonl").open(encoding="utf-8") as file:
        rows = read_rows(file, folder)
    runner, SlowFast.tokens = Runner(MODEL), zeroed
    try:
        questions = [Question(row.video, row.question, row.options, 32) for row in rows]
        answers = dict(runner.answers(questions))
    finally:
        SlowFast.tokens = tokens_of
        runner.close()
    return {row.id: answers[i].answer or answers[i].text for i, row in enumerate(rows)}


def flipped(replies: Replies, before: Replies, truth: Truth) -> float:
    """Share of correctly named motions that reversed clips turn round."""
    moving = [
        name
        for name, row in truth.items()
        if row["kind"] == "direction" and row["answer"] in _OPPOSITE and before[name] == row["answer"]
    ]
    return round(sum(replies[name] == _OPPOSITE[before[name]] for name in moving) / len(moving), 4)


def fast_only(row: dict) -> bool:
    return row["kind"] in FAST_ONLY


def flashing(row: dict) -> bool:
    return fast_only(row) and row["answer"] != "none"


def variations(folder: Path, work: Path) -> dict[str, dict[str, float]]:
    """Measure other settings and ablations, overall and on flashes."""
    truth = truth_of(folder)
    found: dict[str, dict[str, float]] = {}

    def note(name: str, replies: Replies, **more: float) -> None:
        row = {"all": share(replies, truth), "flash": share(replies, truth, fast_only)}
        found[name] = row | {"flash, where there is one": share(replies, truth, flashing)} | more

    shipped = batch(folder, "shipped")
    note("as shipped", shipped)
    for frames in (8, 32):
        note(
            f"{frames} frames",
            batch(folder, f"{frames}-frames", {"media_io_kwargs": {"video": {"num_frames": frames}}}),
        )
    for slow in (2, 8):
        notation = f"slowfast-slow_{slow}frms_spatial_1d_max_pool-fast_2x2"
        note(
            f"{slow} slow frames", batch(folder, f"{slow}-slow", {"hf_overrides": {"sfllava": {"pathways": notation}}})
        )
    backwards = batch(changed_clips(folder, work / "backwards", lambda frames: frames[::-1]), "backwards")
    note("frames reversed", backwards, flipped=flipped(backwards, shipped, truth))
    rng = random.Random(0)
    shuffled = batch(changed_clips(folder, work / "shuffled", lambda f: rng.sample(f, len(f))), "shuffled")
    note("frames shuffled", shuffled)
    for pathway in ("slow", "fast"):
        note(f"without {pathway} tokens", without(folder, pathway))
    return found


def tables(results: dict) -> str:
    """Format the model card's two tables as Markdown."""
    columns = ("one shape", "two shapes", "multiple choice")
    lines = [f"| question | {' | '.join(columns)} |", "|---|---|---|---|"]
    kinds = sorted(results["kinds"].items(), key=lambda item: item[0] == "all")
    lines += [f"| {kind} | {' | '.join(_percent(found.get(c)) for c in columns)} |" for kind, found in kinds]
    columns = ("all", "flash", "flash, where there is one", "flipped")
    lines += [
        "",
        "| | all | flash | flash, where there is one | motions named the other way |",
        "|---|---|---|---|---|",
    ]
    for name, found in results["variations"].items():
        lines.append(f"| {name} | {' | '.join(_percent(found.get(c)) for c in columns)} |")
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="measure sf-llava-tiny on held-out clips")
    parser.add_argument("--clips", type=int, default=500, help="clips for the figures by kind")
    parser.add_argument("--varied", type=int, default=100, help="clips for other settings and ablations")
    parser.add_argument("--out", type=Path, default=Path("build/evaluation"))
    options = parser.parse_args()
    every, some = options.out / "clips", options.out / "some"
    clips.write_folder(every, range(FIRST_SEED, FIRST_SEED + options.clips))
    clips.write_folder(some, range(FIRST_SEED, FIRST_SEED + options.varied))
    results = {"clips": options.clips, "kinds": by_kind(batch(every, "shipped"), truth_of(every))}
    results |= {"varied clips": options.varied, "variations": variations(some, options.out)}
    (options.out / "evaluation.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(tables(results))


if __name__ == "__main__":
    main()
