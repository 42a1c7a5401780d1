"""Layouts of a video's tokens, on maps [T, g, g, D]."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

Project = Callable[[Tensor], Tensor]

NEWLINES = ("none", "end", "frames", "rows")
ORDERS = ("slow_first", "time")


def as_maps(features: Tensor) -> Tensor:
    """Reshape [T, g*g, D] to [T, g, g, D]."""
    side = math.isqrt(features.shape[1])
    return features.reshape(len(features), side, side, -1)


def interpolate_lines(maps: Tensor, dim: int, size: int) -> Tensor:
    """Interpolate linearly along one dimension, with half-pixel centres and no antialiasing."""
    length, lines = maps.shape[dim], []
    for i in range(size):
        position = max((i + 0.5) * length / size - 0.5, 0.0)
        low = min(int(position), length - 1)
        high, share = min(low + 1, length - 1), position - low
        lines.append((1 - share) * maps.select(dim, low) + share * maps.select(dim, high))
    return torch.stack(lines, dim)


def resize_bilinear(maps: Tensor, height: int, width: int) -> Tensor:
    """Interpolate [T, H, W, D] to [T, height, width, D]."""
    return interpolate_lines(interpolate_lines(maps, 1, height), 2, width)


def bilinear(maps: Tensor, stride: int = 2) -> Tensor:
    """Interpolate to ceil(side / stride) a side."""
    return resize_bilinear(maps, math.ceil(maps.shape[1] / stride), math.ceil(maps.shape[2] / stride))


def average(maps: Tensor, stride: int = 2) -> Tensor:
    """Average windows of stride x stride, dropping lines left over."""
    rows = [
        torch.stack(
            [
                maps[:, y * stride : (y + 1) * stride, x * stride : (x + 1) * stride].mean((1, 2))
                for x in range(maps.shape[2] // stride)
            ],
            1,
        )
        for y in range(maps.shape[1] // stride)
    ]
    return torch.stack(rows, 1)


def concat(maps: Tensor) -> Tensor:
    """Keep every patch."""
    return maps


def released(name: str) -> Callable[[Tensor], Tensor]:
    """Build one of SlowFast-LLaVA's pools, for even grids.

    1d pools pairs within a row, 2d pools 2 x 2.
    """
    tall = {"1d": 1, "2d": 2}[name.split("_")[1]]

    def pool(maps: Tensor) -> Tensor:
        frames, height, width, channels = maps.shape
        cells = maps.reshape(frames, height // tall, tall, width // 2, 2, channels)
        return cells.amax((2, 4)) if "_max_" in name else cells.mean((2, 4))

    return pool


POOLS: dict[str, Callable[[Tensor], Tensor]] = {"bilinear": bilinear, "average": average, "concat": concat} | {
    name: released(name) for name in (f"spatial_{d}_{kind}_pool" for d in ("1d", "2d") for kind in ("max", "avg"))
}


def average_lines(maps: Tensor, dim: int, size: int) -> Tensor:
    """Average `size` windows, which may overlap.

    Window i runs from floor(i L / size) to ceil((i + 1) L / size).
    """
    length, lines = maps.shape[dim], []
    for i in range(size):
        start, end = i * length // size, -(-(i + 1) * length // size)
        lines.append(maps.narrow(dim, start, end - start).mean(dim))
    return torch.stack(lines, dim)


def adaptive(maps: Tensor, height: int, width: int) -> Tensor:
    """Adaptive average of [T, g, g, D] to [T, height, width, D]."""
    return average_lines(average_lines(maps, 1, height), 2, width)


def slow_positions(frames: int, slow: int) -> list[int]:
    """Positions of the slow frames; they repeat if there are fewer frames."""
    return torch.linspace(0, frames, slow + 1).long().tolist()[:-1]


def frame_tokens(grid: Tensor, newline: str, vector: Tensor | None) -> Tensor:
    """Lay out one pooled map [h, w, D], with its own newlines."""
    if newline == "rows":
        grid = torch.cat([grid, vector.expand(len(grid), 1, -1)], 1)
    tokens = grid.flatten(0, 1)
    return torch.cat([tokens, vector[None]]) if newline == "frames" else tokens


def _joined(parts: list[Tensor], newline: str, vector: Tensor | None) -> Tensor:
    return torch.cat([*parts, vector[None]] if newline == "end" else parts)


def _unchanged(maps: Tensor) -> Tensor:
    return maps


def every_frame(
    maps: Tensor,
    pool: str = "bilinear",
    newline: str = "none",
    vector: Tensor | None = None,
    project: Project = _unchanged,
) -> Tensor:
    """Pool every frame alike, in time order: [N, D].

    `project` runs after the pool.
    """
    pooled = project(POOLS[pool](maps))
    return _joined([frame_tokens(grid, newline, vector) for grid in pooled], newline, vector)


def slowfast(
    maps: Tensor,
    slow: int,
    pool: str,
    fast: tuple[int, int],
    newline: str = "none",
    vector: Tensor | None = None,
    order: str = "slow_first",
    project: Project = _unchanged,
) -> Tensor:
    """Lay out slow and fast tokens: [N, D].

    `newline`: none, end (one after the video), frames (after each frame's tokens of each pathway) or rows (after each
    row of cells of each pathway). `order`: slow_first, or time: frame by frame, the slow tokens before the fast ones
    where a frame has both. For pooling before the projector, `maps` are the tower's and `project` the projector.
    """
    if newline not in NEWLINES or order not in ORDERS:
        raise ValueError(f"unknown newline {newline!r} or order {order!r}")
    positions = slow_positions(len(maps), slow)
    slow_grids = project(POOLS[pool](maps[positions]))
    slow_parts = [frame_tokens(grid, newline, vector) for grid in slow_grids]
    fast_parts = [frame_tokens(grid, newline, vector) for grid in project(adaptive(maps, *fast))]
    if order == "slow_first":
        return _joined([*slow_parts, *fast_parts], newline, vector)
    parts = []
    for i, fast_part in enumerate(fast_parts):
        parts += [part for position, part in zip(positions, slow_parts, strict=True) if position == i]
        parts.append(fast_part)
    return _joined(parts, newline, vector)


def interleaved(maps: Tensor, every: int, newline: Tensor, faster: Tensor, mode: str = "bilinear") -> Tensor:
    """LLaVA-Video's own slow and fast frames: [N, D].

    Every `every`-th frame is pooled with stride 2, the others with stride 4; each row ends in `newline`, each frame in
    `faster`. A reconstruction: the released program cannot run it.
    """
    pool = {"bilinear": bilinear, "average": average}[mode]
    parts = []
    for i, grid in enumerate(maps):
        pooled = pool(grid[None], 4 if i % every else 2)[0]
        parts += [frame_tokens(pooled, "rows", newline), faster[None]]
    return torch.cat(parts)
