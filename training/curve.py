"""Draw the training curves: python -m training.curve [--logs FOLDER] [--out PICTURE]"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from training.train import STAGES

#: Columns drawn of the tower's reports.
_TOWER = ("covered_colour", "covered_kind", "nearest_colour", "nearest_kind")
#: Widths of the panels, in the order of the stages.
_WIDTHS = [2, 1, 1, 1, 3, 2]
_LANGUAGE = {"letters": "letters alone", "open": "open-ended", "choice": "multiple choice"}


def rows(folder: Path, stage: str) -> list[dict]:
    return [json.loads(line) for line in (folder / f"{stage}.jsonl").read_text(encoding="utf-8").splitlines()]


def draw(folder: Path, picture: Path) -> None:
    """Draw one panel for each stage: share of correct answers over minutes."""
    figure, panels = pyplot.subplots(1, len(STAGES), figsize=(18, 3.6), sharey=True, width_ratios=_WIDTHS)
    for stage, panel in zip(STAGES, panels, strict=True):
        reports = rows(folder, stage)
        names = dict(zip(_TOWER, _TOWER, strict=True)) if stage == "tower" else _LANGUAGE
        for name, label in names.items():
            points = [(row["seconds"] / 60, row[name]) for row in reports if name in row]
            if points:
                panel.plot(*zip(*points, strict=True), label=label.replace("_", " "))
        for name in ("8 frames, 4 slow", "32 frames, 4 slow", "16 frames, 2 slow", "16 frames, 8 slow"):
            points = [(row["seconds"] / 60, row[name]) for row in reports if name in row]
            if points:
                panel.plot(*zip(*points, strict=True), ":", label=f"held out, {name}")
        panel.set_title(stage)
        panel.set_xlabel("minutes")
        panel.grid(alpha=0.3)
        panel.legend(fontsize=7, loc="lower right")
    panels[0].set_ylabel("correct answers")
    figure.tight_layout()
    figure.savefig(picture, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description="draw the training curve of sf-llava-tiny")
    parser.add_argument("--logs", type=Path, default=Path("build/training"))
    parser.add_argument("--out", type=Path, default=Path("training/curve.png"))
    options = parser.parse_args()
    draw(options.logs, options.out)


if __name__ == "__main__":
    main()
