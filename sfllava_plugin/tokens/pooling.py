"""Slow and fast tokens from the features of every frame (arXiv 2407.15841, section 3).

The features come in chunks of frames. Only what a pathway keeps of a chunk stays in memory: whole patches of slow
frames, pooled cells of all others.
"""

import math
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F

from sfllava_plugin.tokens.notation import TEMPORAL_POOLS, Pathways, Single, SlowFast

Projection = Callable[[torch.Tensor], torch.Tensor]


def slow_indices(num_frames: int, slow_frames: int) -> list[int]:
    """Positions of the slow frames among ``num_frames`` frames; a short video repeats some.

    `torch.linspace` and nothing else: from 14 slow frames on, its float32 rounding decides some positions.
    """
    return torch.linspace(0, num_frames, slow_frames + 1).long()[:-1].tolist()


def video_tokens(features: torch.Tensor, pathways: Pathways, project: Projection | None = None) -> torch.Tensor:
    """Pool the features of a video's frames into its tokens.

    Args:
        features: [T, P, D], the P = grid * grid patches of each frame in row-major order.
        pathways: what to keep.
        project: an affine map of the last dimension, [..., D] -> [..., E]. An affine map commutes with every average,
            so it is applied after one and before a maximum: the same tokens for less work.

    Returns:
        [`pathways.token_count` (T, pathways, grid), E].
    """
    return chunked_video_tokens([features], len(features), pathways, project)


def chunked_video_tokens(
    chunks: Iterable[torch.Tensor], num_frames: int, pathways: Pathways, project: Projection | None = None
) -> torch.Tensor:
    """`video_tokens` of features that come in chunks of frames, [C, P, D] each, in time order."""
    project = project or (lambda tokens: tokens)
    if isinstance(pathways, SlowFast):
        return _slow_and_fast(chunks, num_frames, pathways, project)
    if pathways.pool in TEMPORAL_POOLS:
        return _over_time(chunks, num_frames, pathways, project)
    return _frame_by_frame(chunks, pathways.pool, project)


def _slow_and_fast(
    chunks: Iterable[torch.Tensor], num_frames: int, pathways: SlowFast, project: Projection
) -> torch.Tensor:
    """Slow tokens, then fast tokens; both projected at the end, in one product each."""
    positions = slow_indices(num_frames, pathways.slow.frames)
    # A short video repeats slow frames: pool each once.
    distinct = sorted(set(positions))
    slow, fast, first = [], [], 0
    for chunk in chunks:
        slow.append(chunk[[position - first for position in distinct if first <= position < first + len(chunk)]])
        fast.append(_cells(chunk, pathways.fast.height, pathways.fast.width).flatten(0, 1))
        first += len(chunk)
    pooled = _pool(torch.cat(slow), pathways.slow.pool, project)
    in_order = pooled[[distinct.index(position) for position in positions]].flatten(0, 1)
    return torch.cat([in_order, project(torch.cat(fast))])


def _frame_by_frame(chunks: Iterable[torch.Tensor], pool: str, project: Projection) -> torch.Tensor:
    """One pooling for every frame."""
    if pool.endswith("max_pool"):
        # A maximum needs every patch projected; chunk by chunk, only the winners stay.
        return torch.cat([_pool(chunk, pool, project) for chunk in chunks]).flatten(0, 1)
    return project(torch.cat([_pool(chunk, pool, lambda tokens: tokens) for chunk in chunks])).flatten(0, 1)


def _over_time(chunks: Iterable[torch.Tensor], num_frames: int, pathways: Single, project: Projection) -> torch.Tensor:
    """Adaptive average over time, height and width, accumulated in float32."""
    time, height, width = TEMPORAL_POOLS[pathways.pool]
    weights = _time_weights(num_frames, time)
    total, first = 0, 0
    for chunk in chunks:
        grid = _grid(chunk.shape[1])
        cells = _cells(chunk.float(), height or grid, width or grid)
        share = weights[:, first : first + len(chunk)].to(chunk.device)
        total = total + torch.einsum("tc,cpd->tpd", share, cells)
        first += len(chunk)
    return project(total.flatten(0, 1).to(chunk.dtype))


def _time_weights(num_frames: int, cells: int) -> torch.Tensor:
    """[cells, T]: the share of each frame in each cell; the windows of torch's adaptive pooling."""
    weights = torch.zeros(cells, num_frames)
    for cell in range(cells):
        start, end = cell * num_frames // cells, -(-(cell + 1) * num_frames // cells)
        weights[cell, start:end] = 1 / (end - start)
    return weights


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


def _cells(features: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """[T, P, D] -> [T, height * width, D]: adaptive average of each frame, uneven windows overlapping."""
    frames, patches, channels = features.shape
    grid = _grid(patches)
    squares = features.view(frames, grid, grid, channels)
    # As channels-last pictures, which are pooled where they lie; other orders are copied first.
    pooled = F.adaptive_avg_pool2d(squares.permute(0, 3, 1, 2), (height, width))
    return pooled.permute(0, 2, 3, 1).reshape(frames, height * width, channels)


def _grid(patches: int) -> int:
    return math.isqrt(patches)
