"""IG-VLM: six frames as one picture, through LLaVA-1.6's AnyRes as its program does it (arXiv 2403.18406).

Sizes are (width, height), as in the program.
"""

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tests.reference_family import models

SIDE, PATCHES = 336, 24
CANVASES = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))


def picture(frames: np.ndarray, rows: int = 3, columns: int = 2) -> Image.Image:
    """Paste frames row by row, without gaps."""
    _, height, width, _ = frames.shape
    whole = Image.new("RGB", (columns * width, rows * height), "white")
    for cell in range(rows * columns):
        whole.paste(Image.fromarray(frames[cell]), (cell % columns * width, cell // columns * height))
    return whole


def canvas(width: int, height: int) -> tuple[int, int]:
    """Choose the largest effective resolution, then the least waste."""
    best, best_effective, best_waste = None, 0, math.inf
    for wide, tall in CANVASES:
        scale = min(wide / width, tall / height)
        effective = min(int(width * scale) * int(height * scale), width * height)
        waste = wide * tall - effective
        if effective > best_effective or (effective == best_effective and waste < best_waste):
            best, best_effective, best_waste = (wide, tall), effective, waste
    return best


def squares(whole: Image.Image) -> list[Image.Image]:
    """Make the squares that the tower sees: the stretched whole, and the tiles row by row."""
    wide, tall = canvas(*whole.size)
    scale_width, scale_height = wide / whole.width, tall / whole.height
    if scale_width < scale_height:
        width, height = wide, min(math.ceil(whole.height * scale_width), tall)
    else:
        width, height = min(math.ceil(whole.width * scale_height), wide), tall
    black = Image.new("RGB", (wide, tall), (0, 0, 0))
    black.paste(whole.resize((width, height), Image.BICUBIC), ((wide - width) // 2, (tall - height) // 2))
    found = [whole.resize((SIDE, SIDE), Image.BICUBIC)]
    for top in range(0, tall, SIDE):
        for left in range(0, wide, SIDE):
            found.append(black.crop((left, top, left + SIDE, top + SIDE)))
    return found


def kept(width: int, height: int) -> tuple[range, range]:
    """Rows and columns of the patches of the canvas that are not padding."""
    wide, tall = canvas(width, height)
    columns, rows = wide // SIDE * PATCHES, tall // SIDE * PATCHES
    if width / height > columns / rows:
        padding = (rows - int(height * (columns / width))) // 2
        return range(padding, rows - padding), range(columns)
    padding = (columns - int(width * (rows / height))) // 2
    return range(rows), range(padding, columns - padding)


def order(width: int, height: int) -> list[tuple[int, int] | None]:
    """List a picture's tokens as (square, patch); None is a newline."""
    rows, columns = kept(width, height)
    across = canvas(width, height)[0] // SIDE
    tokens: list[tuple[int, int] | None] = [(0, patch) for patch in range(PATCHES**2)]
    for row in rows:
        for column in columns:
            tile = 1 + row // PATCHES * across + column // PATCHES
            tokens.append((tile, row % PATCHES * PATCHES + column % PATCHES))
        tokens.append(None)
    return tokens


@torch.no_grad()
def features(folder, frames: np.ndarray, rows: int = 3, columns: int = 2) -> Tensor:
    """Encode a video of rows * columns frames of any size, uint8 [T, H, W, 3]: [N, D]."""
    whole = picture(frames, rows, columns)
    maps = models.projected_maps(folder, np.stack([np.asarray(square) for square in squares(whole)]))
    newline = models.newline(folder)
    return torch.stack([newline if token is None else maps[token[0], token[1]] for token in order(*whole.size)])


def step(total: int, number: int = 6) -> list[int]:
    """Frames 0, k, 2k and so on; a shorter video than ``number`` repeats its last."""
    length = total // number
    return [min(i * length if length else i, total - 1) for i in range(number)]
