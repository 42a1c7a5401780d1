"""Pictures of any size: tiles on a canvas, and their tokens.

All sizes are (height, width).
"""

import math
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from tests.reference_family.frames import squash
from tests.reference_family.pools import resize_bilinear

Size = tuple[int, int]
#: Tiles of the canvases, in the order of transformers' lists. The original lists are the same but (width, height),
#: which matters where two canvases tie: see `swapped`.
NEXT_TILES = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
ONEVISION_TILES = tuple((rows, columns) for rows in range(1, 7) for columns in range(1, 7))
ROUNDING = 7  # digits kept by transformers before it truncates; None in the original program
MAX_TILES = 9  # of OneVision ("anyres_max_9"); LLaVA-NeXT keeps every token


def pinpoints(tiles: Sequence[Size], side: int) -> list[Size]:
    """Canvas sizes in pixels."""
    return [(rows * side, columns * side) for rows, columns in tiles]


def swapped(sizes: Sequence[Size]) -> list[Size]:
    """The canvases as the original program reads the same list."""
    return [(height, width) for width, height in sizes]


def canvas(size: Size, sizes: Sequence[Size]) -> Size:
    """Choose the canvas that keeps most pixels, then wastes least.

    The first of equals wins.
    """
    (height, width), best, most, least = size, None, 0, math.inf
    for tall, wide in sizes:
        scale = min(wide / width, tall / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        wasted = tall * wide - kept
        if kept > most or (kept == most and wasted < least):
            best, most, least = (tall, wide), kept, wasted
    return best


def tiles(picture: Image.Image, sizes: Sequence[Size], side: int) -> list[Image.Image]:
    """Cut a picture into tiles, row by row, after a squashed whole."""
    tall, wide = canvas((picture.height, picture.width), sizes)
    scale_w, scale_h = wide / picture.width, tall / picture.height
    if scale_w < scale_h:
        height, width = min(math.ceil(picture.height * scale_w), tall), wide
    else:
        height, width = tall, min(math.ceil(picture.width * scale_h), wide)
    black = Image.new("RGB", (wide, tall))
    resized = picture.resize((width, height), Image.Resampling.BICUBIC)
    black.paste(resized, ((wide - width) // 2, (tall - height) // 2))
    corners = [(top, left) for top in range(0, tall, side) for left in range(0, wide, side)]
    return [squash(picture, side), *(black.crop((left, top, left + side, top + side)) for top, left in corners)]


def padding(size: Size, map_size: Size, digits: int | None = ROUNDING) -> Size:
    """Count the padded lines on each side: (rows, columns)."""
    (height, width), (rows, columns) = size, map_size

    def whole(value: float) -> int:
        return int(value if digits is None else round(value, digits))

    if width / height > columns / rows:
        return (rows - whole(height * (columns / width))) // 2, 0
    return 0, (columns - whole(width * (rows / height))) // 2


def shrunk(map_size: Size, grid: int, max_tiles: int | None) -> Size:
    """Size of the map after OneVision's limit.

    By floor division, which can fall below the rounded quotient.
    """
    rows, columns = map_size
    ratio = math.sqrt(rows * columns / (max_tiles * grid**2)) if max_tiles else 0
    return (int(rows // ratio), int(columns // ratio)) if ratio > 1.1 else map_size


def _unpadded(size: Size, sizes: Sequence[Size], side: int, grid: int, digits: int | None) -> tuple[Size, Size]:
    """Lines cut on each side, and the size of what is left."""
    tall, wide = canvas(size, sizes)
    rows, columns = tall // side * grid, wide // side * grid
    top, left = padding(size, (rows, columns), digits)
    return (top, left), (rows - 2 * top, columns - 2 * left)


def token_count(
    size: Size,
    sizes: Sequence[Size],
    side: int,
    grid: int,
    max_tiles: int | None = None,
    digits: int | None = ROUNDING,
) -> int:
    """Count a picture's tokens from its size alone."""
    _, left = _unpadded(size, sizes, side, grid, digits)
    rows, columns = shrunk(left, grid, max_tiles)
    return grid**2 + rows * (columns + 1)


def pack(
    features: Tensor,
    size: Size,
    sizes: Sequence[Size],
    side: int,
    newline: Tensor,
    max_tiles: int | None = None,
    digits: int | None = ROUNDING,
) -> Tensor:
    """Lay out projected features, [1 + n, g*g, D], as tokens [N, D].

    The base comes first, without newlines; then the canvas, each row followed by a newline. A base alone, as of
    several pictures in one prompt, is followed by one newline.
    """
    if len(features) == 1:
        return torch.cat([features[0], newline[None]])
    grid = math.isqrt(features.shape[1])
    per_row = canvas(size, sizes)[1] // side
    squares = [tile.reshape(grid, grid, -1) for tile in features[1:]]
    whole = torch.cat([torch.cat(squares[i : i + per_row], 1) for i in range(0, len(squares), per_row)])
    (top, left), (rows, columns) = _unpadded(size, sizes, side, grid, digits)
    whole = whole[top : top + rows, left : left + columns]
    limit = shrunk((rows, columns), grid, max_tiles)
    if limit != (rows, columns):
        whole = resize_bilinear(whole[None], *limit)[0]
    lines = torch.cat([whole, newline.expand(len(whole), 1, -1)], 1)
    return torch.cat([features[0], lines.flatten(0, 1)])
