"""The kinds of models that are timed: a random checkpoint, the plain model for it, and the work of each."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import inputs, onevision, plain
from examples import random_checkpoint
from examples.random_checkpoint import Geometry
from sfllava_plugin.video.sampling import Sampling


@dataclass(frozen=True)
class ModelKind:
    """A kind of model.

    Attributes:
        geometries: sizes by name.
        write: writes a random checkpoint.
        plain: the plain side.
        frames, sampling: those of its videos.
        projected: counts the tokens that pass our projector's second linear, from frames and patches of each.
        tokens: those of a frame in the tower beside its patches.
        unused: layers of the tower that neither side runs.
    """

    geometries: dict[str, Geometry]
    write: Callable[..., Path]
    plain: type[plain.PlainModel]
    frames: int
    sampling: Sampling
    projected: Callable[[int, int], int]
    tokens: int
    unused: int


def _slow_and_fast(frames: int, patches: int) -> int:
    # Fast tokens are averaged before the projector's second linear: only slow frames pass it whole.
    return min(plain.SLOW_FRAMES, frames) * patches + frames * plain.FAST_SIDE**2


def _bilinear(frames: int, patches: int) -> int:
    side = (math.isqrt(patches) + 1) // 2
    return frames * side**2


KINDS = {
    "llava-next": ModelKind(
        geometries=inputs.GEOMETRIES,
        write=random_checkpoint.write_checkpoint,
        plain=plain.PlainModel,
        frames=50,
        sampling="middles",
        projected=_slow_and_fast,
        tokens=1,
        unused=1,
    ),
    "onevision": ModelKind(
        geometries={"middle": onevision.MIDDLE, "small": onevision.SMALL},
        write=onevision.write_checkpoint,
        plain=plain.PlainOneVision,
        frames=32,
        sampling="linspace",
        projected=_bilinear,
        tokens=0,
        unused=0,
    ),
}
