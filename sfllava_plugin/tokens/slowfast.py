"""Slow and fast tokens, the layout of SlowFast-LLaVA (arXiv 2407.15841, section 3).

The slow pathway keeps a few frames with most of their patches, the fast pathway keeps every frame with a few.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from sfllava_plugin.tokens import arrangement as arrangements
from sfllava_plugin.tokens.arrangement import Part
from sfllava_plugin.tokens.base import TokenLayout
from sfllava_plugin.tokens.geometry import Grid
from sfllava_plugin.tokens.notation import POOLS, PathwayError, check_pool, is_count, pooled_shape

if TYPE_CHECKING:
    import torch

    from sfllava_plugin.tokens.pooling import Projection

_NOTATION = re.compile(r"slowfast-slow_([0-9]{1,6})frms_(\w+)-fast_([0-9]{1,6})x([0-9]{1,6})")


@dataclass(frozen=True)
class Slow:
    """The slow pathway: ``frames`` of the video, each pooled by ``pool`` (one of `POOLS`)."""

    frames: int
    pool: str

    def __post_init__(self) -> None:
        if self.pool not in POOLS:
            raise PathwayError(f"unknown slow pool {self.pool!r}: use one of {', '.join(POOLS)}")
        if not is_count(self.frames):
            raise PathwayError(f"slow frames must be a whole number from 1 on, not {self.frames!r}")


@dataclass(frozen=True)
class Fast:
    """The fast pathway: every frame, averaged to ``height`` x ``width`` cells."""

    height: int
    width: int

    def __post_init__(self) -> None:
        if not (is_count(self.height) and is_count(self.width)):
            size = f"{self.height!r}x{self.width!r}"
            raise PathwayError(f"the fast grid must be whole numbers from 1x1 on, not {size}")


@dataclass(frozen=True)
class SlowFast(TokenLayout):
    """Both pathways; in the paper slow tokens first, fast tokens after them, nothing between (section 3.2)."""

    slow: Slow
    fast: Fast

    FORMS: ClassVar[tuple[str, ...]] = ("slowfast-slow_NUMBERfrms_POOL-fast_HEIGHTxWIDTH",)

    @classmethod
    def from_notation(cls, text: str) -> "SlowFast | None":
        if (match := _NOTATION.fullmatch(text)) is None:
            return None
        frames, pool, height, width = match.groups()
        return cls(Slow(int(frames), pool), Fast(int(height), int(width)))

    @classmethod
    def from_mapping(cls, value: dict[str, Any]) -> "SlowFast":
        """Read a mapping of ``slow`` and ``fast``.

        Raises:
            PathwayError: a key is missing, unknown, or has a value that does not exist.
        """
        try:
            return cls(Slow(**value["slow"]), Fast(**value["fast"]))
        except TypeError as error:
            raise PathwayError(
                f"pathways {value!r}: slow takes frames and pool, fast takes height and width"
            ) from error

    def __str__(self) -> str:
        slow, fast = self.slow, self.fast
        return f"slowfast-slow_{slow.frames}frms_{slow.pool}-fast_{fast.height}x{fast.width}"

    def check(self, grid: Grid) -> None:
        check_pool(self, self.slow.pool, grid)
        # A finer grid would only repeat patches.
        if self.fast.height > grid.rows or self.fast.width > grid.columns:
            raise PathwayError(f"{self}: the fast grid is finer than the tower's {grid}")

    def parts(self, frames: int, grid: Grid) -> list[Part]:
        return self._parts(self.slow_frames(frames), frames, grid)

    def count(self, frames: int, grid: Grid) -> int:
        # Which frames are slow, which only torch tells, makes no difference.
        return arrangements.count(self._parts(range(self.slow.frames), frames, grid), self.arrangement)

    def _parts(self, slow: Iterable[int], frames: int, grid: Grid) -> list[Part]:
        return [
            Part(tuple(slow), *pooled_shape(self.slow.pool, grid)),
            Part(tuple(range(frames)), self.fast.height, self.fast.width),
        ]

    def slow_frames(self, frames: int) -> list[int]:
        """List the positions of the slow frames among ``frames`` frames; a short video repeats some.

        `torch.linspace` and nothing else: from 14 slow frames on, its float32 rounding decides some positions.
        """
        import torch

        return torch.linspace(0, frames, self.slow.frames + 1).long()[:-1].tolist()

    def pooled(
        self, chunks: "Iterable[torch.Tensor]", frames: int, grid: Grid, project: "Projection"
    ) -> "Sequence[torch.Tensor]":
        """Pool the slow frames and all frames; both are projected at the end, in one product each."""
        import torch

        from sfllava_plugin.tokens.pooling import average_cells, pool_patches

        positions = self.slow_frames(frames)
        # A short video repeats slow frames: pool each once.
        distinct = sorted(set(positions))
        slow, fast, first = [], [], 0
        for chunk in chunks:
            slow.append(chunk[[position - first for position in distinct if first <= position < first + len(chunk)]])
            fast.append(average_cells(chunk, grid, self.fast.height, self.fast.width))
            first += len(chunk)
        pooled = pool_patches(torch.cat(slow), self.slow.pool, grid, project)
        return [pooled[[distinct.index(position) for position in positions]], project(torch.cat(fast))]
