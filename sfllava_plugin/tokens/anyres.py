"""Pictures of any size as LLaVA-NeXT and LLaVA-OneVision read them: a coarse whole, then tiles in detail (AnyRes).

A picture goes onto the canvas, of a list, that keeps most of its pixels. The canvas is cut into squares of the tower's
size. Their patches make one map again; rows and columns of padding are cut off, and each row ends with a newline.
All sizes are (height, width).
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Size = tuple[int, int]

#: OneVision's maps are shrunk if they are larger than the limit by more than this factor a side.
_TOLERANCE = 1.1


@dataclass(frozen=True)
class AnyRes:
    """The pictures of one checkpoint.

    Attributes:
        canvases: their sizes in pixels, in the checkpoint's order: the first of equals wins.
        side: of a tile, in pixels.
        grid: patches along the side of a tile.
        limit: tiles whose patches a map may have before it is shrunk (OneVision's 9); None: it never is.
        rounding: transformers rounds to seven digits before it truncates, the released programs do not.
    """

    canvases: tuple[Size, ...]
    side: int
    grid: int
    limit: int | None
    rounding: Literal["transformers", "program"]

    def canvas(self, size: Size) -> Size:
        """Choose the canvas for a picture: most of its pixels are kept, then least of the canvas is wasted."""
        height, width = size

        def merit(canvas: Size) -> tuple[int, int]:
            tall, wide = canvas
            scale = min(wide / width, tall / height)
            kept = min(int(width * scale) * int(height * scale), width * height)
            return kept, kept - tall * wide

        return max(self.canvases, key=merit)

    def fitted(self, size: Size) -> Size:
        """Return the size of the picture on its canvas, which it fills in one direction."""
        (height, width), (tall, wide) = size, self.canvas(size)
        by_width, by_height = wide / width, tall / height
        if by_width < by_height:
            return min(math.ceil(height * by_width), tall), wide
        return tall, min(math.ceil(width * by_height), wide)

    def tiles(self, size: Size) -> int:
        """Count the squares that the tower sees: the whole picture, and the tiles of its canvas."""
        tall, wide = self.canvas(size)
        return 1 + (tall // self.side) * (wide // self.side)

    def count(self, size: Size) -> int:
        """Count a picture's tokens."""
        rows, columns = self._shrunk(self._kept(size))
        return self.grid**2 + rows * (columns + 1)

    def largest(self) -> Size:
        """Return the size of a picture with most tokens: it fills its canvas, or loses little of it by shrinking."""
        return max(self._candidates(), key=self.count)

    def arrange(self, features: "torch.Tensor", size: Size, newline: "torch.Tensor") -> "torch.Tensor":
        """Make a picture's tokens.

        Args:
            features: of its squares, the whole first and then the tiles row by row: [tiles(size), patches, E].
            newline: the vector ``image_newline``, [E].

        Returns:
            [count(size), E].
        """
        import torch
        import torch.nn.functional as F

        tall, wide = self.canvas(size)
        rows, columns = tall // self.side, wide // self.side
        width = features.shape[-1]
        tiles = features[1:].view(rows, columns, self.grid, self.grid, width)
        whole = tiles.transpose(1, 2).reshape(rows * self.grid, columns * self.grid, width)
        top, left = self._padding(size)
        whole = whole[top : len(whole) - top, left : whole.shape[1] - left]
        if (shape := self._shrunk((whole.shape[0], whole.shape[1]))) != whole.shape[:2]:
            whole = F.interpolate(whole.permute(2, 0, 1)[None], size=shape, mode="bilinear")[0].permute(1, 2, 0)
        ends = newline.to(whole).expand(len(whole), 1, width)
        return torch.cat([features[0], torch.cat([whole, ends], dim=1).flatten(0, 1)])

    def _padding(self, size: Size) -> Size:
        """Count the lines of padding on each side of the map; of an odd number one stays, as in the programs."""
        (height, width), (tall, wide) = size, self.canvas(size)
        rows, columns = tall // self.side * self.grid, wide // self.side * self.grid
        if width / height > columns / rows:
            return (rows - self._whole(height * (columns / width))) // 2, 0
        return 0, (columns - self._whole(width * (rows / height))) // 2

    def _kept(self, size: Size) -> Size:
        """Return the rows and columns of the map without padding."""
        tall, wide = self.canvas(size)
        top, left = self._padding(size)
        return tall // self.side * self.grid - 2 * top, wide // self.side * self.grid - 2 * left

    def _shrunk(self, shape: Size) -> Size:
        if self.limit is None:
            return shape
        rows, columns = shape
        ratio = math.sqrt(rows * columns / (self.limit * self.grid**2))
        return (int(rows // ratio), int(columns // ratio)) if ratio > _TOLERANCE else shape

    def _whole(self, length: float) -> int:
        return int(round(length, 7) if self.rounding == "transformers" else length)

    def _candidates(self) -> list[Size]:
        """Pictures that fill a canvas, or whose map a line of patches less keeps below the limit."""
        sizes = list(self.canvases)
        step = self.side / self.grid
        for tall, wide in self.canvases:
            for lines in range(1, self.grid):
                cut = round(lines * step)
                sizes += [(tall - cut, wide), (tall, wide - cut)]
        return sizes
