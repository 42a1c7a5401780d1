"""Slow and fast frames in time order, as LLaVA-Video-72B was trained with them (arXiv 2410.02713, section 3).

A reconstruction. In every released version of the program, the call that would pool the fast frames is commented out,
and `faster_token` is created by training alone; so nobody can have run it, and there is nothing to compare with.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from sfllava_plugin.tokens.arrangement import FASTER_WEIGHT, Arrangement, Part
from sfllava_plugin.tokens.base import PooledLayout
from sfllava_plugin.tokens.geometry import Grid
from sfllava_plugin.tokens.notation import STRIDED_POOLS, PathwayError, check_pool, is_count, pooled_shape

if TYPE_CHECKING:
    import torch

    from sfllava_plugin.tokens.pooling import Projection

_NOTATION = re.compile(r"interleaved_([0-9]{1,6})(?:_([a-z]+))?")
_SLOW_STRIDE, _FAST_STRIDE = 2, 4


@dataclass(frozen=True)
class Interleaved(PooledLayout):
    """Every ``every``-th frame pooled with stride 2, the others with stride 4; ``faster_token`` after each frame.

    The first frame is slow. Newlines stand where the arrangement says, before ``faster_token``; LLaVA-Video's end rows.

    Attributes:
        every: frames from one slow frame to the next; the paper's 3 for 72B.
        pool: ``bilinear`` or ``average``.
    """

    every: int
    pool: str = "bilinear"
    arrangement: Arrangement = field(default=Arrangement(newline="rows", order="time"), kw_only=True)

    FORMS: ClassVar[tuple[str, ...]] = ("interleaved_NUMBER_POOL",)
    FRAME_END: ClassVar[str | None] = FASTER_WEIGHT

    def __post_init__(self) -> None:
        if self.pool not in STRIDED_POOLS:
            raise PathwayError(f"unknown interleaved pool {self.pool!r}: use one of {', '.join(STRIDED_POOLS)}")
        if not is_count(self.every):
            raise PathwayError(f"every NUMBER-th frame is slow: use a whole number from 1 on, not {self.every!r}")

    @classmethod
    def from_notation(cls, text: str) -> "Interleaved | None":
        if (match := _NOTATION.fullmatch(text)) is None:
            return None
        every, pool = match.groups()
        return cls(int(every), pool or "bilinear")

    def __str__(self) -> str:
        return f"interleaved_{self.every}_{self.pool}"

    def check(self, grid: Grid) -> None:
        """Refuse a tower whose grid is too small, and arrangements that it was not trained in."""
        check_pool(self, self.pool, grid, _FAST_STRIDE)
        if self.arrangement.order != "time":
            raise PathwayError(f"{self} is in time order, not order {self.arrangement.order!r}: use order 'time'")
        if self.arrangement.pool != "after_projector":
            raise PathwayError(
                f"{self} pools after the projector, not pool {self.arrangement.pool!r}: use pool 'after_projector'"
            )

    def parts(self, frames: int, grid: Grid) -> list[Part]:
        others = tuple(frame for frame in range(frames) if frame % self.every)
        parts = [
            Part(tuple(self.slow_frames(frames)), *pooled_shape(self.pool, grid, _SLOW_STRIDE)),
            Part(others, *pooled_shape(self.pool, grid, _FAST_STRIDE)),
        ]
        return [part for part in parts if part.frames]

    def slow_frames(self, frames: int) -> list[int]:
        return list(range(0, frames, self.every))

    def pooled(
        self, chunks: "Iterable[torch.Tensor]", frames: int, grid: Grid, project: "Projection"
    ) -> "Sequence[torch.Tensor]":
        import torch

        from sfllava_plugin.tokens.pooling import resampled

        slow: list[torch.Tensor] = []
        others: list[torch.Tensor] = []
        first = 0
        for chunk in chunks:
            is_slow = torch.arange(first, first + len(chunk), device=chunk.device) % self.every == 0
            for kept, mask, stride in ((slow, is_slow, _SLOW_STRIDE), (others, ~is_slow, _FAST_STRIDE)):
                if mask.any():
                    kept.append(resampled(chunk[mask], self.pool, grid, stride))
            first += len(chunk)
        return [project(torch.cat(kept)) for kept in (slow, others) if kept]
