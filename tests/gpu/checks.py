"""The checks of tests/gpu. They take a device or a model, so that tests/engine and tests/tokens run them on a CPU."""

import statistics
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from benchmarks import flops
from benchmarks.timing import timed
from examples.random_checkpoint import Geometry
from sfllava_plugin.shapes import clips
from sfllava_plugin.tokens.geometry import Grid
from sfllava_plugin.tokens.layout import SlowFast, parse
from sfllava_plugin.tokens.notation import POOLS, TEMPORAL_POOLS

PATHWAYS = (
    "slowfast-slow_10frms_spatial_1d_max_pool-fast_4x4",
    "slowfast-slow_4frms_spatial_2d_avg_pool-fast_5x7",
    *POOLS,
    *TEMPORAL_POOLS,
)
#: Of the largest value: some roundings of bfloat16, 2^-8 each.
BFLOAT16 = 0.02

#: Clips whose questions a CPU answers without a mistake, in float16 and in float32.
SEEDS = range(20_000, 20_006)

_GRID, _WIDTH, _CHUNK = 24, 64, 16


def pooling_error(notation: str, device: str, dtype: torch.dtype, frames: int = 50) -> float:
    """Largest difference of pooled tokens from float32 on the CPU, as a share of the largest value."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(frames, _GRID**2, _WIDTH, generator=generator)
    weight, bias = torch.randn(_WIDTH, _WIDTH, generator=generator), torch.randn(_WIDTH, generator=generator)

    def tokens(**where) -> torch.Tensor:
        moved, *linear = (tensor.to(**where) for tensor in (features, weight, bias))
        project = partial(_linear, *linear)
        found = parse(notation).tokens(moved.split(_CHUNK), frames, Grid.square(_GRID**2), project, {})
        assert (found.device.type, found.dtype) == (torch.device(where["device"]).type, where["dtype"])
        return found.to("cpu", torch.float32)

    expected = tokens(device="cpu", dtype=torch.float32)
    return ((tokens(device=device, dtype=dtype) - expected).abs().max() / expected.abs().max()).item()


def _linear(weight: torch.Tensor, bias: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.linear(pooled, weight, bias)


def wrong_answers(runner, folder: Path) -> list[tuple[str, str, str]]:
    """(question, answer, truth) of every question on `SEEDS` that sf-llava-tiny gets wrong."""
    from sfllava_plugin.engine.offline.questions import Question

    asked, truths = [], []
    for clip in map(clips.clip, SEEDS):
        video = str(clips.write_clip(clip.scene, folder / f"{clip.scene.seed}.mp4"))
        for question in [*clip.open_ended, *clip.multiple_choice]:
            asked.append(Question(video, question.text, question.options, 24))
            truths.append(question.letter or question.answer)
    replies = {position: answer.answer or answer.text for position, answer in runner.answers(asked)}
    assert len(asked) == len(replies) > 100
    return [
        (question.text, replies[i], truth)
        for i, (question, truth) in enumerate(zip(asked, truths, strict=True))
        if replies[i] != truth
    ]


def tower_speed(model, geometry: Geometry, device: str, dtype: torch.dtype, frames: int, repeats: int = 5) -> float:
    """Speed of tower, projector and pathways on random frames, as a share of a bare matrix product's.

    Both do as many operations: the product is repeated. They are timed by turns.
    """
    # The other checks need no transformers.
    from benchmarks.kinds import KINDS

    shape = (frames, geometry.image_size, geometry.image_size, 3)
    video = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).to(device)
    multiply = flops.mlp_product(geometry, torch.device(device), dtype)
    work = flops.tower(KINDS["llava-next"], geometry, frames, _projected(model.video_config.pathways, geometry, frames))
    times = max(1, round(work / flops.product(geometry)))

    @torch.inference_mode()
    def encode() -> None:
        model.embed_multimodal(video_frames=[video])

    def products() -> None:
        for _ in range(times):
            multiply()

    tower, product = _medians(timed(encode), timed(products), repeats)
    return (work / tower) / (times * flops.product(geometry) / product)


def _projected(pathways: SlowFast, geometry: Geometry, frames: int) -> int:
    """Tokens that go through the projector's second half: every patch of slow frames, and all fast tokens."""
    return min(pathways.slow.frames, frames) * geometry.grid**2 + frames * pathways.fast.height * pathways.fast.width


def _medians(first: Callable, second: Callable, repeats: int) -> Iterator[float]:
    """Median seconds of each, timed by turns after a run of each to warm up."""
    first(), second()
    seconds = [(first()[0], second()[0]) for _ in range(repeats)]
    return map(statistics.median, zip(*seconds, strict=True))
