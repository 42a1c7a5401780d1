"""Train sf-llava-tiny from scratch: python -m training.train [--out FOLDER] [--from STAGE]

Takes two processes, one per core, for about an hour and a half. Every stage writes its weights and its curve to FOLDER,
so that training can resume with the next; the last stage writes the checkpoint.
"""

import argparse
import json
import math
import os
import random
import socket
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F

from sfllava_plugin.shapes.clips import TRAINING_SEEDS
from sfllava_plugin.tokens.layout import Slow, SlowFast
from training import bank, export, parallel
from training.dialogue import Dialogue
from training.language import Curriculum, Lesson
from training.model import PATHWAYS, Language
from training.tower import TowerStage, sample

PROCESSES = 2
STAGES = ("tower", "letters", "flash", "motion", "world", "pairs")
_HELD_OUT_CLIPS = 150
_REPORT_EVERY, _EVALUATE_EVERY = 25, 200
#: Other settings (frames, slow frames) that the model should cope with.
OTHER_SETTINGS = ((8, 4), (32, 4), (16, 2), (16, 8))

Evaluate = Callable[[], dict[str, float]]


@dataclass(frozen=True)
class Plan:
    """The schedule of one stage.

    It ends early once the share of correct answers reaches `enough`. Over the last `decay` of the steps, the rate falls
    to a tenth along a cosine.
    """

    steps: int
    rate: float
    each: int  # clips or pictures per process and step
    enough: float = 2.0
    decay: float = 0.0
    until: int | None = None  # ends here, before the schedule does


PLANS = {
    "tower": Plan(steps=2200, rate=1.5e-3, each=64, decay=0.5),
    "letters": Plan(steps=1500, rate=2e-3, each=12, enough=0.99),
    "flash": Plan(steps=800, rate=2e-3, each=32, enough=0.97),
    "motion": Plan(steps=600, rate=2e-3, each=24, enough=0.99),
    "world": Plan(steps=2000, rate=1.6e-3, each=24, decay=0.5, until=1600),
    "pairs": Plan(steps=1150, rate=1.6e-3, each=24, decay=0.5),
}
CLIPS = 12_000


class Curve:
    """The log of a stage: one line of JSON for each report.

    Only the first process writes.
    """

    def __init__(self, folder: Path, stage: str, rank: int):
        self._file = (folder / f"{stage}.jsonl").open("w", encoding="utf-8") if rank == 0 else None
        self._stage, self._begin = stage, time.monotonic()

    def report(self, step: int, **values: float) -> None:
        row = {"stage": self._stage, "step": step, "seconds": round(time.monotonic() - self._begin, 1)}
        row |= {name: round(value, 4) for name, value in values.items()}
        if self._file:
            print(json.dumps(row), file=self._file, flush=True)
            print(" ".join(f"{name} {value}" for name, value in row.items()), flush=True)


def rate_at(step: int, plan: Plan) -> float:
    """Learning rate: short warm-up, plateau, cosine down to a tenth."""
    if step < 100:
        return plan.rate * (step + 1) / 100
    begin = plan.steps * (1 - plan.decay)
    if step < begin:
        return plan.rate
    done = (step - begin) / (plan.steps - begin)
    return plan.rate * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))


class Optimiser:
    """AdamW with averaged gradients and a schedule."""

    def __init__(self, module: torch.nn.Module, plan: Plan):
        self._module, self._plan, self._step = module, plan, 0
        parallel.share(module)
        self._adam = torch.optim.AdamW(module.parameters(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.05)

    def step(self, loss: torch.Tensor) -> None:
        self._adam.zero_grad(set_to_none=True)
        loss.backward()
        parallel.average_gradients(self._module)
        torch.nn.utils.clip_grad_norm_(self._module.parameters(), 1.0)
        for group in self._adam.param_groups:
            group["lr"] = rate_at(self._step, self._plan)
        self._adam.step()
        self._step += 1


def train_tower(stage: TowerStage, plan: Plan, curve: Curve, rng: random.Random) -> None:
    optimiser = Optimiser(stage, plan)
    for step in range(1, plan.steps + 1):
        frames, labels = sample(plan.each, rng)
        with torch.autocast("cpu", torch.bfloat16):
            loss, right = stage(frames, labels)
        optimiser.step(loss)
        if step % _REPORT_EVERY == 0:
            curve.report(step, loss=loss.item(), **right)


def answer_right(model: Language, lesson: Lesson) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss, and which whole answers greedy decoding gives."""
    with torch.autocast("cpu", torch.bfloat16):
        video = None if lesson.features is None else model.video_tokens(lesson.features, lesson.pathways)
        logits, truth = model(lesson.batch, video)
    wrong = torch.zeros(lesson.batch.labels.shape)
    wrong[lesson.batch.labels >= 0] = (logits.argmax(-1) != truth).float()
    per_question = wrong.unflatten(1, (lesson.batch.branches, -1)).sum(-1) == 0
    return F.cross_entropy(logits.float(), truth), per_question.flatten()


def train_language(
    model: Language,
    plan: Plan,
    lessons: Iterator[Lesson],
    evaluate: Evaluate,
    curve: Curve,
    save: Callable[[], None],
) -> None:
    """Train until all lessons are right often enough, or the plan ends."""
    optimiser = Optimiser(model, plan)
    recent: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=2 * _REPORT_EVERY))
    for step, lesson in zip(range(1, (plan.until or plan.steps) + 1), lessons, strict=False):
        loss, right = answer_right(model, lesson)
        optimiser.step(loss)
        recent[lesson.name].append(right.float().mean().item())
        if step % _REPORT_EVERY == 0:
            shares = {name: sum(values) / len(values) for name, values in recent.items()}
            curve.report(step, loss=loss.item(), **shares, **(evaluate() if step % _EVALUATE_EVERY == 0 else {}))
            [worst] = parallel.total(min(shares.values()))
            if worst >= PROCESSES * plan.enough:
                break
            if step % _EVALUATE_EVERY == 0:
                save()
    save()


@torch.no_grad()
def evaluate(model: Language, curriculum: Curriculum) -> dict[str, float]:
    """Share of correct held-out answers, by kind and by setting."""
    right: dict[str, list[float]] = defaultdict(list)
    for choice in (False, True):
        for _ in range(6):
            lesson = curriculum.evaluation(choice)
            for kind, correct in zip(lesson.kinds, answer_right(model, lesson)[1].tolist(), strict=True):
                right[f"{kind}, choice" if choice else kind].append(correct)
        for frames, slow in OTHER_SETTINGS:
            chosen = SlowFast(Slow(slow, PATHWAYS.slow.pool), PATHWAYS.fast)
            correct = answer_right(model, curriculum.evaluation(choice, frames, chosen))[1]
            right[f"{frames} frames, {slow} slow"] += correct.tolist()
    names = sorted(right)
    sums = parallel.total(*(float(sum(right[name])) for name in names))
    counts = parallel.total(*(len(right[name]) for name in names))
    return {name: total / count for name, total, count in zip(names, sums, counts, strict=True)}


def work(rank: int, port: int, out: Path, first: str) -> None:
    """Train in one process, from stage `first` on."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=PROCESSES)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    todo = STAGES[STAGES.index(first) :]

    tower_stage = TowerStage()
    if "tower" in todo:
        train_tower(tower_stage, PLANS["tower"], Curve(out, "tower", rank), random.Random(rank))
        keep(tower_stage, out / "tower.pt", rank)
    tower_stage.load_state_dict(torch.load(out / "tower.pt"))

    dialogue, model = Dialogue(), Language(Dialogue().size)
    if first not in ("tower", "letters"):
        previous = STAGES[STAGES.index(first) - 1]
        model.load_state_dict(torch.load(out / f"{previous}.pt"))
    share = CLIPS // PROCESSES
    seeds = range(TRAINING_SEEDS + rank * share, TRAINING_SEEDS + (rank + 1) * share)
    begin = time.monotonic()
    clips = bank.build(tower_stage.tower.eval(), seeds)
    held_out_clips = bank.build(tower_stage.tower, range(rank * _HELD_OUT_CLIPS, (rank + 1) * _HELD_OUT_CLIPS))
    if rank == 0:
        print(f"bank of {CLIPS} clips: {time.monotonic() - begin:.0f} s", flush=True)
    for stage in [stage for stage in todo if stage != "tower"]:
        plan = PLANS[stage]
        curriculum = Curriculum(dialogue, clips, plan.each, seed=100 * STAGES.index(stage) + rank)
        held_out = Curriculum(dialogue, held_out_clips, 24, seed=1000 + rank)
        curve = Curve(out, stage, rank)
        evaluation = partial(evaluate, model, held_out) if stage in ("world", "pairs") else dict
        save = partial(keep, model, out / f"{stage}.pt", rank)
        train_language(model, plan, getattr(curriculum, stage)(), evaluation, curve, save)
    if rank == 0:
        print(export.write(tower_stage.tower, model, out / "sf-llava-tiny"))


def keep(module: torch.nn.Module, path: Path, rank: int) -> None:
    if rank == 0:
        torch.save(module.state_dict(), path)
    dist.barrier()


def main() -> None:
    parser = argparse.ArgumentParser(description="train sf-llava-tiny from scratch")
    parser.add_argument("--out", type=Path, default=Path("build/training"))
    parser.add_argument(
        "--from",
        dest="first",
        choices=STAGES,
        default="tower",
        help="resume here, with the weights of the stage before",
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(work, (port, options.out, options.first), nprocs=PROCESSES)


if __name__ == "__main__":
    main()
