"""One pooling for the whole video: the released program's baselines, and the native layouts of other checkpoints."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sfllava_plugin.tokens.arrangement import Part
from sfllava_plugin.tokens.base import PooledLayout
from sfllava_plugin.tokens.geometry import Grid
from sfllava_plugin.tokens.notation import POOLS, TEMPORAL_POOLS, PathwayError, check_pool, pooled_shape

if TYPE_CHECKING:
    import torch

    from sfllava_plugin.tokens.pooling import Projection


@dataclass(frozen=True)
class Single(PooledLayout):
    """One of `POOLS` on every frame, or one of `TEMPORAL_POOLS` over all of them."""

    pool: str

    FORMS: ClassVar[tuple[str, ...]] = (*POOLS, *TEMPORAL_POOLS)

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

    def parts(self, frames: int, grid: Grid) -> list[Part]:
        if self.pool in TEMPORAL_POOLS:
            time, height, width = TEMPORAL_POOLS[self.pool]
            return [Part(tuple(range(time)), height or grid.rows, width or grid.columns)]
        return [Part(tuple(range(frames)), *pooled_shape(self.pool, grid))]

    def pooled(
        self, chunks: "Iterable[torch.Tensor]", frames: int, grid: Grid, project: "Projection"
    ) -> "Sequence[torch.Tensor]":
        import torch

        from sfllava_plugin.tokens.pooling import average_over_time, pool_patches

        if self.pool in TEMPORAL_POOLS:
            return [project(average_over_time(chunks, frames, grid, *TEMPORAL_POOLS[self.pool]))]
        if self.pool.endswith("max_pool"):
            # A maximum needs every patch projected; chunk by chunk, only the winners stay.
            return [torch.cat([pool_patches(chunk, self.pool, grid, project) for chunk in chunks])]
        pooled = [pool_patches(chunk, self.pool, grid, lambda tokens: tokens) for chunk in chunks]
        return [project(torch.cat(pooled))]
