"""The slow and the fast pathway: from the features of every frame to the tokens the language model reads.

The method of SlowFast-LLaVA (arXiv 2407.15841, section 3): a slow pathway keeps few frames with most of their
patches, a fast pathway keeps every frame with few. A pathway is also named in the notation of the released
program, ``slowfast-slow_10frms_spatial_1d_max_pool-fast_4x4``, or by one of its single-pathway names.

This module knows tensors and counts. It does not know frames as pixels, prompts, checkpoints or vLLM.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

Projection = Callable[[torch.Tensor], torch.Tensor]

#: Poolings of one frame's patches, by the names the released program gives them.
POOLS = (
    "concat",
    "spatial_1d_max_pool",
    "spatial_1d_avg_pool",
    "spatial_2d_max_pool",
    "spatial_2d_avg_pool",
)

#: Poolings across frames, which stand alone: (time, height, width) they leave, None = as it was.
TEMPORAL_POOLS = {
    "spatial_temporal_pool": (16, 12, 12),
    "temporal_global_pool": (1, None, None),
}

_NOTATION = re.compile(r"slowfast-slow_([0-9]{1,6})frms_(\w+)-fast_([0-9]{1,6})x([0-9]{1,6})")


class PathwayError(ValueError):
    """A pathway that does not exist or does not fit the tower's grid."""


def _whole(number: object) -> bool:
    """Whether it can count something: YAML also brings 10.5 and true."""
    return type(number) is int and number >= 1


@dataclass(frozen=True)
class Slow:
    """The slow pathway: ``frames`` of the video, each pooled by ``pool`` (one of `POOLS`)."""

    frames: int
    pool: str

    def __post_init__(self):
        if self.pool not in POOLS:
            raise PathwayError(f"unknown slow pool {self.pool!r}: use one of {', '.join(POOLS)}")
        if not _whole(self.frames):
            raise PathwayError(f"slow frames must be a whole number from 1 on, not {self.frames!r}")


@dataclass(frozen=True)
class Fast:
    """The fast pathway: every frame, averaged to ``height`` x ``width`` cells."""

    height: int
    width: int

    def __post_init__(self):
        if not (_whole(self.height) and _whole(self.width)):
            size = f"{self.height!r}x{self.width!r}"
            raise PathwayError(f"the fast grid must be whole numbers from 1x1 on, not {size}")


@dataclass(frozen=True)
class SlowFast:
    """Both pathways: slow tokens first, fast tokens after them, nothing between (paper section 3.2)."""

    slow: Slow
    fast: Fast

    def __str__(self) -> str:
        slow, fast = self.slow, self.fast
        return f"slowfast-slow_{slow.frames}frms_{slow.pool}-fast_{fast.height}x{fast.width}"


@dataclass(frozen=True)
class Single:
    """One pooling for the whole video: one of `POOLS` on every frame, or one of `TEMPORAL_POOLS`."""

    pool: str

    def __post_init__(self):
        if self.pool not in POOLS and self.pool not in TEMPORAL_POOLS:
            raise PathwayError(f"unknown pathway {self.pool!r}: use {expected()}")

    def __str__(self) -> str:
        return self.pool


Pathways = SlowFast | Single

DEFAULT = SlowFast(Slow(10, "spatial_1d_max_pool"), Fast(4, 4))


def expected() -> str:
    """What `parse` accepts, in words for an error message."""
    return f"slowfast-slow_NUMBERfrms_POOL-fast_HEIGHTxWIDTH, or {', '.join([*POOLS, *TEMPORAL_POOLS])}"


def parse(value: "str | dict | Pathways") -> Pathways:
    """Read a pathway from the released notation, a single-pathway name, or a mapping.

    The mapping is ``{"slow": {"frames": 10, "pool": "spatial_1d_max_pool"}, "fast": {"height": 4, "width": 4}}``.

    Raises:
        PathwayError: naming what was found and what is accepted.
    """
    if isinstance(value, SlowFast | Single):
        return value
    if isinstance(value, str):
        if match := _NOTATION.fullmatch(value):
            frames, pool, height, width = match.groups()
            return SlowFast(Slow(int(frames), pool), Fast(int(height), int(width)))
        return Single(value)
    if isinstance(value, dict) and set(value) == {"slow", "fast"}:
        try:
            return SlowFast(Slow(**value["slow"]), Fast(**value["fast"]))
        except TypeError as error:
            raise PathwayError(
                f"pathways {value!r}: slow takes frames and pool, fast takes height and width"
            ) from error
    raise PathwayError(f"unknown pathways {value!r}: use {expected()}, or a mapping of slow and fast")


def check(pathways: Pathways, grid: int) -> None:
    """Refuse a pathway that a ``grid`` x ``grid`` tower cannot feed.

    Raises:
        PathwayError: a 2 x 2 pool on an odd grid, or a fast grid finer than the tower's: it would only repeat tokens.
    """
    pool = pathways.slow.pool if isinstance(pathways, SlowFast) else pathways.pool
    if pool in POOLS and pool != "concat" and grid % 2:
        raise PathwayError(f"{pathways}: {pool} needs an even patch grid, this tower has {grid}x{grid}")
    if isinstance(pathways, SlowFast) and max(pathways.fast.height, pathways.fast.width) > grid:
        raise PathwayError(f"{pathways}: the fast grid is finer than the tower's {grid}x{grid}")


def slow_indices(num_frames: int, slow_frames: int) -> list[int]:
    """Positions of the slow frames among ``num_frames`` frames; a short video repeats some.

    `torch.linspace` and nothing else: from 14 slow frames on, its float32 rounding decides some positions.
    """
    return torch.linspace(0, num_frames, slow_frames + 1).long()[:-1].tolist()


def token_count(num_frames: int, pathways: Pathways, grid: int) -> int:
    """How many tokens a video of ``num_frames`` frames takes; the prompt's placeholders come from here."""
    patches = grid * grid
    if isinstance(pathways, SlowFast):
        fast_tokens = num_frames * pathways.fast.height * pathways.fast.width
        return pathways.slow.frames * _pooled(pathways.slow.pool, patches) + fast_tokens
    if pathways.pool in TEMPORAL_POOLS:
        time, height, width = TEMPORAL_POOLS[pathways.pool]
        return time * (height or grid) * (width or grid)
    return num_frames * _pooled(pathways.pool, patches)


def video_tokens(features: torch.Tensor, pathways: Pathways, project: Projection | None = None) -> torch.Tensor:
    """Pool the features of a video's frames into its tokens.

    Args:
        features: [T, P, D], the P = grid * grid patches of each frame in row-major order.
        pathways: what to keep.
        project: an affine map of the last dimension, [..., D] -> [..., E]. An affine map commutes with every average,
            so it is applied after one and before a maximum: the same tokens for less work.

    Returns:
        [`token_count` (T, pathways, grid), E].
    """
    project = project or (lambda tokens: tokens)
    if isinstance(pathways, SlowFast):
        slow = _slow(features, pathways.slow, project)
        fast = project(_average(features, (None, pathways.fast.height, pathways.fast.width)))
        return torch.cat([slow, fast])
    if pathways.pool in TEMPORAL_POOLS:
        return project(_average(features, TEMPORAL_POOLS[pathways.pool]))
    return _pool(features, pathways.pool, project).flatten(0, 1)


def _slow(features: torch.Tensor, slow: Slow, project: Projection) -> torch.Tensor:
    positions = slow_indices(len(features), slow.frames)
    # A short video repeats slow frames: pool each once.
    distinct = sorted(set(positions))
    pooled = _pool(features[distinct], slow.pool, project)
    return pooled[[distinct.index(position) for position in positions]].flatten(0, 1)


def _pool(features: torch.Tensor, pool: str, project: Projection) -> torch.Tensor:
    """[T, P, D] -> [T, pooled P, E]."""
    if pool == "concat":
        return project(features)
    window = "1d" if "_1d_" in pool else "2d"
    if pool.endswith("max_pool"):
        return _windows(project(features), window).amax(dim=2)
    return project(_windows(features, window).mean(dim=2))


def _windows(features: torch.Tensor, window: str) -> torch.Tensor:
    """[T, P, D] -> [T, windows, patches of a window, D], for horizontal pairs ("1d") or 2 x 2 squares ("2d")."""
    frames, patches, width = features.shape
    if window == "1d":
        return features.view(frames, patches // 2, 2, width)
    grid = _grid(patches)
    squares = features.view(frames, grid // 2, 2, grid // 2, 2, width)
    return squares.transpose(2, 3).reshape(frames, patches // 4, 4, width)


def _average(features: torch.Tensor, size: tuple[int | None, int | None, int | None]) -> torch.Tensor:
    """[T, P, D] -> [tokens, D]: adaptive average to (time, height, width), uneven windows overlapping."""
    frames, patches, width = features.shape
    grid = _grid(patches)
    squares = features.view(frames, grid, grid, width)
    if size[0] is None:
        # As channels-last pictures, which are pooled where they lie; other orders are copied first.
        return F.adaptive_avg_pool2d(squares.permute(0, 3, 1, 2), size[1:]).permute(0, 2, 3, 1).reshape(-1, width)
    return F.adaptive_avg_pool3d(squares.permute(3, 0, 1, 2), size).flatten(1).T.contiguous()


def _pooled(pool: str, patches: int) -> int:
    if pool == "concat":
        return patches
    return patches // 2 if "_1d_" in pool else patches // 4


def _grid(patches: int) -> int:
    return math.isqrt(patches)
