"""The notation of pathways, and how many tokens each takes.

The method of SlowFast-LLaVA (arXiv 2407.15841, section 3): a slow pathway keeps few frames with most of their
patches, a fast pathway keeps every frame with few. A pathway is named in the notation of the released program,
``slowfast-slow_10frms_spatial_1d_max_pool-fast_4x4``, or by one of its single-pathway names.

Plain Python, so that listing models does not load torch. pooling.py applies a pathway to features.
"""

import re
from dataclasses import dataclass

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


def _pooled(pool: str, patches: int) -> int:
    if pool == "concat":
        return patches
    return patches // 2 if "_1d_" in pool else patches // 4
