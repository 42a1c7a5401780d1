"""A thumbnail and sampled tokens, the layout of TS-LLaVA (arXiv 2411.11066).

The thumbnail is one picture of a few frames; the sampled tokens are taken evenly from all tokens of all frames.
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

_NOTATION = re.compile(r"thumbnail_([0-9]{1,6})(?:(_first)?\+sampled_([0-9]{1,6}))?")


@dataclass(frozen=True)
class Thumbnail(PooledLayout):
    """``sampled`` tokens of all frames, and the tokens of one picture of ``thumbnail`` frames after them.

    The program refuses videos with fewer frames than the thumbnail has; here their last frame is repeated in it. Of a
    video with no more tokens than ``sampled``, all are taken, once each.

    Attributes:
        thumbnail: frames in the thumbnail. 4, 6 and 8 are TS-LLaVA's variants 1, 2 and 3.
        sampled: tokens taken from the frames; None takes none (variant X).
        first: whether the thumbnail stands before them (variant Y).
    """

    thumbnail: int
    sampled: int | None = None
    first: bool = False

    FORMS: ClassVar[tuple[str, ...]] = ("thumbnail_NUMBER+sampled_NUMBER", "thumbnail_NUMBER")

    def __post_init__(self) -> None:
        check_count("thumbnail", "frames", self.thumbnail)
        if self.sampled is not None:
            check_count("thumbnail", "sampled tokens", self.sampled)

    @classmethod
    def from_notation(cls, text: str) -> "Thumbnail | None":
        if (match := _NOTATION.fullmatch(text)) is None:
            return None
        thumbnail, first, sampled = match.groups()
        return cls(int(thumbnail), int(sampled) if sampled else None, first is not None)

    def __str__(self) -> str:
        sampled = "" if self.sampled is None else f"{'_first' if self.first else ''}+sampled_{self.sampled}"
        return f"thumbnail_{self.thumbnail}{sampled}"

    def check(self, grid: Grid) -> None:
        check_cells(self, self.thumbnail, grid)

    def thumbnail_frames(self, frames: int) -> list[int]:
        """List the positions of the thumbnail's frames among ``frames`` frames."""
        import torch

        if frames < self.thumbnail:
            return [min(position, frames - 1) for position in range(self.thumbnail)]
        return torch.linspace(0, frames - 1, self.thumbnail, device="cpu").round().long().tolist()

    def sampled_tokens(self, frames: int, grid: Grid) -> list[int]:
        """List the positions of the sampled tokens among those of all frames, frame after frame.

        `torch.linspace` and nothing else: its float32 rounding decides some positions.
        """
        import torch

        every = frames * grid.patches
        if self.sampled is None or every <= self.sampled:
            return list(range(every if self.sampled else 0))
        positions = torch.linspace(0, every - 1, self.sampled, device="cpu").round().long()
        return positions.clamp(0, every - 1).tolist()

    def pictures(self, frames: int, grid: Grid, size: Size | None = None) -> int:
        return 1 if self.sampled is None else frames + 1

    def compose(self, frames: "torch.Tensor") -> "Sequence[torch.Tensor]":
        thumbnail = composed(frames[self.thumbnail_frames(len(frames))], self.thumbnail)
        return [thumbnail] if self.sampled is None else [frames, thumbnail]

    def parts(self, frames: int, grid: Grid) -> list[Part]:
        parts = [Part((0,), grid.rows, grid.columns)]
        if self.sampled is not None:
            parts.insert(self.first, Part((0,), 1, min(self.sampled, frames * grid.patches)))
        return parts

    def pooled(
        self, chunks: "Iterable[torch.Tensor]", frames: int, grid: Grid, project: "Projection"
    ) -> "Sequence[torch.Tensor]":
        import torch

        positions = torch.tensor(self.sampled_tokens(frames, grid), dtype=torch.long)
        seen = 0 if self.sampled is None else frames * grid.patches
        sampled, thumbnail, first = [], [], 0
        for chunk in chunks:
            tokens, last = chunk.flatten(0, 1), first + chunk.shape[0] * grid.patches
            own = positions[(positions >= first) & (positions < last)] - first
            sampled.append(tokens[own.to(tokens.device)])
            thumbnail.append(tokens[max(seen - first, 0) :])
            first = last
        pooled = [project(torch.cat(thumbnail))[None]]
        if self.sampled is not None:
            pooled.insert(self.first, project(torch.cat(sampled))[None])
        return pooled
