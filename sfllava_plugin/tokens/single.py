"""One pooling for the whole video: the released program's baselines."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sfllava_plugin.tokens.geometry import Grid
from sfllava_plugin.tokens.notation import POOLS, TEMPORAL_POOLS, PathwayError, check_pool, pooled_patches

if TYPE_CHECKING:
    import torch

    from sfllava_plugin.tokens.pooling import Pictures, Projection


@dataclass(frozen=True)
class Single:
    """One of `POOLS` on every frame, or one of `TEMPORAL_POOLS` over all of them."""

    pool: str

    FORMS: ClassVar[tuple[str, ...]] = (*POOLS, *TEMPORAL_POOLS)
    extra_weights: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if self.pool not in self.FORMS:
            raise PathwayError(f"unknown pathway {self.pool!r}: use {', '.join(self.FORMS)}")

    @classmethod
    def from_notation(cls, text: str) -> "Single | None":
        return cls(text) if text in cls.FORMS else None

    def __str__(self) -> str:
        return self.pool

    def check(self, grid: Grid) -> None:
        check_pool(self, self.pool, grid)

    def count(self, frames: int, grid: Grid) -> int:
        if self.pool in TEMPORAL_POOLS:
            time, height, width = TEMPORAL_POOLS[self.pool]
            return time * (height or grid.rows) * (width or grid.columns)
        return frames * pooled_patches(self.pool, grid)

    def slow_frames(self, frames: int) -> list[int]:
        return []

    def compose(self, frames: "Pictures") -> "Pictures":
        return frames

    def tokens(
        self,
        chunks: "Iterable[torch.Tensor]",
        frames: int,
        grid: Grid,
        project: "Projection",
        extra: "Mapping[str, torch.Tensor]",
    ) -> "torch.Tensor":
        import torch

        from sfllava_plugin.tokens.pooling import average_over_time, pool_patches

        if self.pool in TEMPORAL_POOLS:
            return project(average_over_time(chunks, frames, grid, *TEMPORAL_POOLS[self.pool]))
        if self.pool.endswith("max_pool"):
            # A maximum needs every patch projected; chunk by chunk, only the winners stay.
            return torch.cat([pool_patches(chunk, self.pool, grid, project) for chunk in chunks]).flatten(0, 1)
        pooled = [pool_patches(chunk, self.pool, grid, lambda tokens: tokens) for chunk in chunks]
        return project(torch.cat(pooled)).flatten(0, 1)
