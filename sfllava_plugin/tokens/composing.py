"""Pictures composed of several frames: TS-LLaVA's thumbnails, and panels."""

import math
from typing import TYPE_CHECKING

from sfllava_plugin.tokens.geometry import Geometry, Grid
from sfllava_plugin.tokens.notation import PathwayError, is_count

if TYPE_CHECKING:
    import torch


def cells(frames: int) -> tuple[int, int]:
    """Return the rows and columns of a picture of ``frames`` frames: near to a square, and rather upright than wide."""
    columns = max(side for side in range(1, math.isqrt(frames) + 1) if frames % side == 0)
    return frames // columns, columns


def check_cells(layout: object, frames: int, grid: Grid) -> None:
    """Refuse a tower whose pictures do not divide into the cells.

    Raises:
        PathwayError: naming the layout and the tower's pictures.
    """
    rows, columns = cells(frames)
    if isinstance(grid, Geometry) and (grid.image_size % rows or grid.image_size % columns):
        side = grid.image_size
        raise PathwayError(
            f"{layout}: {side}x{side} pixels do not divide into {rows}x{columns} frames: use another number"
        )


def check_count(layout: str, name: str, number: object) -> None:
    """Refuse a number below 1.

    Raises:
        PathwayError: naming the layout.
    """
    if not is_count(number):
        raise PathwayError(f"{name} of a {layout} must be a whole number from 1 on, not {number!r}")


def composed(frames: "torch.Tensor", number: int) -> "torch.Tensor":
    """Put each ``number`` frames into one picture, row by row.

    A frame is shrunk by the means of its boxes of pixels, which stay float: rounded ones would not be those of the
    normalised frame.

    Args:
        frames: [N * number, S, S, 3], 0 to 255.

    Returns:
        float32 [N, S, S, 3].
    """
    import torch.nn.functional as F

    rows, columns = cells(number)
    height, width = frames.shape[1] // rows, frames.shape[2] // columns
    shrunk = F.adaptive_avg_pool2d(frames.permute(0, 3, 1, 2).float(), (height, width))
    placed = shrunk.view(-1, rows, columns, 3, height, width).permute(0, 1, 4, 2, 5, 3)
    return placed.reshape(-1, rows * height, columns * width, 3)
