"""The words of a layout's notation: poolings, and what is wrong with a name."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sfllava_plugin.tokens.geometry import Grid

#: Poolings of one frame's patches in SlowFast-LLaVA's released program.
RELEASED_POOLS = (
    "concat",
    "spatial_1d_max_pool",
    "spatial_1d_avg_pool",
    "spatial_2d_max_pool",
    "spatial_2d_avg_pool",
)

#: Poolings of LLaVA-NeXT's video models, by any stride.
STRIDED_POOLS = ("bilinear", "average")

#: All poolings of one frame's patches.
POOLS = (*RELEASED_POOLS, *STRIDED_POOLS)

#: Poolings across frames: the time, height and width they leave; None keeps the tower's.
TEMPORAL_POOLS = {
    "spatial_temporal_pool": (16, 12, 12),
    "temporal_global_pool": (1, None, None),
}


class PathwayError(ValueError):
    """A token layout that does not exist or does not fit the tower."""


def is_count(number: object) -> bool:
    """Tell whether ``number`` is a whole number from 1 on; YAML also gives 10.5 and true."""
    return type(number) is int and number >= 1


def check_pool(layout: object, pool: str, grid: "Grid", stride: int = 2) -> None:
    """Refuse a pool that is not defined on a grid.

    On a grid with an odd side, the released program's pools of two would leave patches out. ``bilinear`` and
    ``average`` are defined there: LLaVA-OneVision and LLaVA-Video pool 27 x 27 patches by them.

    Raises:
        PathwayError: naming the layout, the pool and the grid.
    """
    if pool in RELEASED_POOLS[1:] and (grid.rows % 2 or grid.columns % 2):
        raise PathwayError(f"{layout}: {pool} needs an even patch grid, this tower has {grid}")
    if pool == "average" and min(grid.rows, grid.columns) < stride:
        raise PathwayError(f"{layout}: average needs a patch grid of {stride}x{stride} or more, this tower has {grid}")


def pooled_shape(pool: str, grid: "Grid", stride: int = 2) -> tuple[int, int]:
    """Return the rows and columns that a pool leaves of one frame; ``stride`` is for `STRIDED_POOLS`."""
    if pool == "concat":
        return grid.rows, grid.columns
    if "_1d_" in pool:
        return grid.rows, grid.columns // 2
    if pool == "bilinear":
        return -(-grid.rows // stride), -(-grid.columns // stride)
    return grid.rows // stride, grid.columns // stride
