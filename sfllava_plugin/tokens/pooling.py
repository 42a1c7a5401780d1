"""Poolings of patches, shared by the token layouts.

Features come in chunks of frames. Only what a layout keeps of a chunk stays in memory: the patches of slow frames, the
pooled cells of all others.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
import torch.nn.functional as F

from sfllava_plugin.tokens.geometry import Grid
from sfllava_plugin.tokens.notation import STRIDED_POOLS, pooled_shape

#: Pictures as numpy or torch holds them: uint8 [N, S, S, 3].
Pictures = TypeVar("Pictures")
#: An affine map of the last dimension.
Projection = Callable[[torch.Tensor], torch.Tensor]


def pool_patches(features: torch.Tensor, pool: str, grid: Grid, project: Projection) -> torch.Tensor:
    """Pool each frame by one of `notation.POOLS`: [T, patches, D] -> [T, pooled patches, E]."""
    if pool == "concat":
        return project(features)
    if pool in STRIDED_POOLS:
        return project(resampled(features, pool, grid))
    window = "1d" if "_1d_" in pool else "2d"
    if pool.endswith("max_pool"):
        return _windows(project(features), window, grid).amax(dim=2)
    return project(_windows(features, window, grid).mean(dim=2))


def resampled(features: torch.Tensor, pool: str, grid: Grid, stride: int = 2) -> torch.Tensor:
    """Shrink each frame as LLaVA-NeXT's `get_2dPool` does: [T, patches, D] -> [T, pooled patches, D].

    ``average`` takes ``stride`` x ``stride`` patches and drops the lines left over; ``bilinear`` samples at the
    half-pixel centres of ceil(side / stride) cells, without antialiasing.
    """
    frames, _, channels = features.shape
    maps = features.view(frames, grid.rows, grid.columns, channels).permute(0, 3, 1, 2)
    if pool == "average":
        pooled = F.avg_pool2d(maps, stride)
    else:
        pooled = F.interpolate(maps, size=pooled_shape(pool, grid, stride), mode="bilinear")
    return pooled.permute(0, 2, 3, 1).flatten(1, 2)


def average_cells(features: torch.Tensor, grid: Grid, height: int, width: int) -> torch.Tensor:
    """Average each frame to a grid of cells: [T, patches, D] -> [T, height * width, D].

    Where the cells do not divide the grid, their windows overlap, as in torch's adaptive pooling.
    """
    frames, _, channels = features.shape
    squares = features.view(frames, grid.rows, grid.columns, channels)
    # As channels-last pictures, which are pooled in place; other orders are copied first.
    pooled = F.adaptive_avg_pool2d(squares.permute(0, 3, 1, 2), (height, width))
    return pooled.permute(0, 2, 3, 1).reshape(frames, height * width, channels)


def average_over_time(
    chunks: Iterable[torch.Tensor], frames: int, grid: Grid, time: int, height: int | None, width: int | None
) -> torch.Tensor:
    """Average over time, rows and columns: chunks [C, patches, D] -> [time, height * width, D].

    Sums are taken in float32. Without a height or width, the tower's rows or columns stay.
    """
    weights = _time_weights(frames, time)
    total: torch.Tensor | None = None
    first = 0
    for chunk in chunks:
        cells = average_cells(chunk.float(), grid, height or grid.rows, width or grid.columns)
        share = weights[:, first : first + len(chunk)].to(chunk.device)
        summed = torch.einsum("tc,cpd->tpd", share, cells)
        total, dtype = summed if total is None else total + summed, chunk.dtype
        first += len(chunk)
    if total is None:
        raise ValueError("a video has at least one frame")
    return total.to(dtype)


def _time_weights(frames: int, cells: int) -> torch.Tensor:
    """[cells, T]: the share of each frame in each cell; the windows of torch's adaptive pooling."""
    weights = torch.zeros(cells, frames)
    for cell in range(cells):
        start, end = cell * frames // cells, -(-(cell + 1) * frames // cells)
        weights[cell, start:end] = 1 / (end - start)
    return weights


def _windows(features: torch.Tensor, window: str, grid: Grid) -> torch.Tensor:
    """Group patches: [T, patches, D] -> [T, windows, 2 or 4, D], horizontal pairs ("1d") or 2 x 2 squares ("2d")."""
    frames, patches, width = features.shape
    if window == "1d":
        return features.view(frames, patches // 2, 2, width)
    squares = features.view(frames, grid.rows // 2, 2, grid.columns // 2, 2, width)
    return squares.transpose(2, 3).reshape(frames, patches // 4, 4, width)
