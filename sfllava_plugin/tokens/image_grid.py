"""One picture of all frames, read in tiles: the layout of IG-VLM (arXiv 2403.18406).

The frames stand side by side at their own size, and the picture goes through LLaVA-NeXT's AnyRes (anyres.py), as its
released program does it: transformers rounds otherwise, which makes a row more or less of some pictures.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sfllava_plugin.tokens.anyres import AnyRes, Size
from sfllava_plugin.tokens.arrangement import NEWLINE_WEIGHT
from sfllava_plugin.tokens.base import TokenLayout
from sfllava_plugin.tokens.geometry import Geometry, Grid
from sfllava_plugin.tokens.notation import PathwayError, is_count

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from sfllava_plugin.tokens.pooling import Projection

_NOTATION = re.compile(r"image_grid_([0-9]{1,6})x([0-9]{1,6})")
#: Rows and columns of tiles of LLaVA-NeXT's canvases, in the order in which its program reads them.
_CANVASES = ((2, 1), (1, 2), (2, 2), (1, 3), (3, 1))
#: Pixels along a patch of the towers that have no image size here; it only matters for very small frames.
_PATCH = 14


@dataclass(frozen=True)
class ImageGrid(TokenLayout):
    """``rows`` x ``columns`` frames as one picture: a coarse whole, then tiles whose rows end with a newline.

    Of a longer video the first frame of each of rows * columns equal parts is shown, a shorter one repeats its last.
    """

    rows: int
    columns: int

    FORMS: ClassVar[tuple[str, ...]] = ("image_grid_ROWSxCOLUMNS",)
    NATIVE_SIZE: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (is_count(self.rows) and is_count(self.columns)):
            raise PathwayError(
                f"an image grid has whole numbers of rows and columns from 1x1 on, not {self.rows!r}x{self.columns!r}"
            )

    @classmethod
    def from_notation(cls, text: str) -> "ImageGrid | None":
        match = _NOTATION.fullmatch(text)
        return cls(int(match[1]), int(match[2])) if match else None

    def __str__(self) -> str:
        return f"image_grid_{self.rows}x{self.columns}"

    def check(self, grid: Grid) -> None:
        if grid.rows != grid.columns:
            raise PathwayError(f"{self} needs a tower with a square patch grid, this one has {grid}")
        if self.arrangement.newline != "none":
            newline = self.arrangement.newline
            raise PathwayError(f"{self} has its own newlines, not newline {newline!r}: use newline 'none'")

    @property
    def extra_weights(self) -> tuple[str, ...]:
        return (NEWLINE_WEIGHT,)

    def cells(self, frames: int) -> list[int]:
        """List the positions of the frames shown, row by row."""
        number = self.rows * self.columns
        step = max(1, frames // number)
        return [min(step * cell, frames - 1) for cell in range(number)]

    def picture(self, frames: "NDArray[np.uint8]") -> "NDArray[np.uint8]":
        """Compose the picture: uint8 [T, H, W, 3] -> uint8 [rows * H, columns * W, 3]."""
        shown = frames[self.cells(len(frames))]
        _, height, width, colours = shown.shape
        placed = shown.reshape(self.rows, self.columns, height, width, colours).swapaxes(1, 2)
        return placed.reshape(self.rows * height, self.columns * width, colours)

    def picture_size(self, size: Size) -> Size:
        """Return the height and width of the picture of frames of this size."""
        return self.rows * size[0], self.columns * size[1]

    def largest(self, grid: Grid) -> Size:
        """Return a size of frames whose picture has most tokens."""
        height, width = self.anyres(grid).largest()
        return height * self.columns, width * self.rows

    def anyres(self, grid: Grid) -> AnyRes:
        """Return the tiles of the picture."""
        side = grid.image_size if isinstance(grid, Geometry) else _PATCH * grid.rows
        canvases = tuple((rows * side, columns * side) for rows, columns in _CANVASES)
        return AnyRes(canvases, side, grid.rows, limit=None, rounding="program")

    def pictures(self, frames: int, grid: Grid, size: Size | None = None) -> int:
        return self.anyres(grid).tiles(self._picture_size(grid, size))

    def count(self, frames: int, grid: Grid, size: Size | None = None) -> int:
        return self.anyres(grid).count(self._picture_size(grid, size))

    def tokens(
        self,
        chunks: "Iterable[torch.Tensor]",
        frames: int,
        grid: Grid,
        project: "Projection",
        extra: "Mapping[str, torch.Tensor]",
        size: Size | None = None,
    ) -> "torch.Tensor":
        import torch

        features = project(torch.cat(list(chunks)))
        return self.anyres(grid).arrange(features, self._picture_size(grid, size), extra[NEWLINE_WEIGHT])

    def _picture_size(self, grid: Grid, size: Size | None) -> Size:
        return self.picture_size(size or self.largest(grid))
