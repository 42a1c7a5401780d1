"""The words of the released program's notation: poolings, and what is wrong with a name."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sfllava_plugin.tokens.geometry import Grid

#: Poolings of one frame's patches.
POOLS = (
    "concat",
    "spatial_1d_max_pool",
    "spatial_1d_avg_pool",
    "spatial_2d_max_pool",
    "spatial_2d_avg_pool",
)

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


def check_pool(layout: object, pool: str, grid: "Grid") -> None:
    """Refuse pools of two on a grid with an odd side: they would leave patches out.

    Raises:
        PathwayError: naming the layout, the pool and the grid.
    """
    if pool in POOLS and pool != "concat" and (grid.rows % 2 or grid.columns % 2):
        raise PathwayError(f"{layout}: {pool} needs an even patch grid, this tower has {grid}")


def pooled_patches(pool: str, grid: "Grid") -> int:
    """Count the tokens that a pool leaves of one frame."""
    if pool == "concat":
        return grid.patches
    return grid.patches // (2 if "_1d_" in pool else 4)
