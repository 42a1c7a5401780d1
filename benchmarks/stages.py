"""The stages of one question about one video, on both sides."""

from collections.abc import Iterator

import numpy as np
import torch

from benchmarks import flops, plain
from benchmarks.kinds import ModelKind
from benchmarks.ours import OurModel
from benchmarks.timing import Result, Stage, timed
from examples.random_checkpoint import Geometry
from sfllava_plugin.video.decode import decode
from sfllava_plugin.video.frames import Video

#: Number of stages that `model_stages` yields.
OF_THE_MODEL = 3


def decoding(name: str, path: str, kind: ModelKind, image_size: int) -> tuple[Stage, Video]:
    """The stage from video file to resized frames, and the decoded video."""

    def decoded() -> Video:
        return decode(path, num_frames=kind.frames, image_size=image_size, sampling=kind.sampling)

    video = decoded()
    sides = {
        "ours": timed(lambda: decoded().frames),
        "plain": timed(lambda: plain.read_frames(path, list(video.indices), image_size)),
    }
    # Decoders convert YUV to RGB with differences of about one level.
    return Stage(f"decode + resize, {name}", sides, _levels, limit=2.0), video


def model_stages(
    ours: OurModel, other: plain.PlainModel, video: Video, geometry: Geometry, tokens: int
) -> Iterator[Stage]:
    """Yield the model's stages: video tokens, first token, further tokens."""
    exact = ours.dtype == torch.float32
    frames = torch.from_numpy(video.frames).to(ours.device)
    features = None

    def plain_tokens() -> torch.Tensor:
        nonlocal features
        features = other.video_tokens(frames)
        return features

    yield Stage(
        "tower + projector + pathways",
        {
            "ours": timed(lambda: ours.video_tokens(frames)),
            "plain": timed(plain_tokens),
            "gemm": timed(flops.mlp_product(geometry, ours.device, ours.dtype)),
        },
        _relative,
        limit=1e-3 if exact else 0.1,
    )

    ours.remember(video)
    embedded = _count_calls(ours.model, "embed_multimodal")
    yield Stage(
        "prefill: time to first token",
        {
            "ours": timed(ours.prefill),
            "plain": timed(lambda: other.prefill(ours.prompt, ours.marker, features)),
        },
        _first_logprob,
        limit=1e-2 if exact else 1.0,
    )

    prefilled = other.prefill(ours.prompt, ours.marker, features)
    yield Stage(
        f"generation: each of {tokens} tokens",
        {"ours": lambda: ours.generate(tokens), "plain": lambda: other.generate(prefilled, tokens)},
        # Share of tokens that differ. Random weights produce near-ties, after which greedy answers may diverge.
        lambda a, b: sum(x != y for x, y in zip(a, b, strict=True)) / len(a),
        limit=1.0,
        unit="s/token",
    )
    if embedded:
        raise RuntimeError(f"the tower ran {len(embedded)} times while prefill and generation were timed")


def gflops(tower: Result, video: Video, kind: ModelKind, geometry: Geometry) -> dict[str, float]:
    """Billions of operations per second, for each side of the tower's stage."""
    frames, patches = len(video.indices), geometry.grid**2
    counts = {
        "ours": flops.tower(kind, geometry, frames, kind.projected(frames, patches)),
        "plain": flops.tower(kind, geometry, frames, frames * patches),
        "gemm": flops.product(geometry),
    }
    return {side: count / tower.median(side) / 1e9 for side, count in counts.items()}


def _count_calls(model: torch.nn.Module, name: str) -> list[None]:
    """Make a method add to the returned list at every call."""
    calls: list[None] = []
    method = getattr(model, name)
    setattr(model, name, lambda *args, **kwargs: calls.append(None) or method(*args, **kwargs))
    return calls


def _levels(ours: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(ours.astype(np.int16) - other).mean())


def _relative(ours: torch.Tensor, other: torch.Tensor) -> float:
    return float((ours.float() - other.float()).norm() / other.float().norm())


def _first_logprob(ours, other: plain.Prefilled) -> float:
    [completion] = ours.outputs
    token = completion.token_ids[0]
    return abs(completion.logprobs[0][token].logprob - float(other.logits.float().log_softmax(-1)[token]))
