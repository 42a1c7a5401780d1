"""Pictures of several frames each, all tokens of each picture: TS-LLaVA's variant Z, and Video Panels.

Panels (arXiv 2509.23724) are pictures of 2 x 2 frames: ``grids_4``.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sfllava_plugin.tokens.anyres import Size
from sfllava_plugin.tokens.arrangement import Part
from sfllava_plugin.tokens.base import PooledLayout
from sfllava_plugin.tokens.composing import check_cells, check_count, composed
from sfllava_plugin.tokens.geometry import Grid

if TYPE_CHECKING:
    import torch

    from sfllava_plugin.tokens.pooling import Projection

_NOTATION = re.compile(r"grids_([0-9]{1,6})")


@dataclass(frozen=True)
class Grids(PooledLayout):
    """All frames in pictures of ``each`` consecutive frames; the last frame is repeated to fill the last picture."""

    each: int

    FORMS: ClassVar[tuple[str, ...]] = ("grids_NUMBER",)

    def __post_init__(self) -> None:
        check_count("grid", "frames", self.each)

    @classmethod
    def from_notation(cls, text: str) -> "Grids | None":
        match = _NOTATION.fullmatch(text)
        return cls(int(match[1])) if match else None

    def __str__(self) -> str:
        return f"grids_{self.each}"

    def check(self, grid: Grid) -> None:
        check_cells(self, self.each, grid)

    def pictures(self, frames: int, grid: Grid, size: Size | None = None) -> int:
        return -(-frames // self.each)

    def compose(self, frames: "torch.Tensor") -> "Sequence[torch.Tensor]":
        starts = range(0, len(frames), self.each)
        last = len(frames) - 1
        # Picture by picture: as float32 all frames at once would take four times their memory.
        return [composed(frames[[min(start + i, last) for i in range(self.each)]], self.each) for start in starts]

    def parts(self, frames: int, grid: Grid) -> list[Part]:
        return [Part(tuple(range(self.pictures(frames, grid))), grid.rows, grid.columns)]

    def pooled(
        self, chunks: "Iterable[torch.Tensor]", frames: int, grid: Grid, project: "Projection"
    ) -> "Sequence[torch.Tensor]":
        import torch

        return [project(torch.cat(list(chunks)))]
