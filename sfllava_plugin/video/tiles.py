"""Cut a picture into squares: the whole of it, and the tiles of its canvas (tokens/anyres.py)."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def cut_tiles(picture: Image.Image, canvas: tuple[int, int], fitted: tuple[int, int], side: int) -> NDArray[np.uint8]:
    """Squash the whole picture, then cut its canvas row by row.

    Args:
        picture: RGB.
        canvas: height and width of the canvas, multiples of ``side``; it is black around the picture.
        fitted: height and width of the picture on it.
        side: S, of a square.

    Returns:
        uint8 [1 + tiles, S, S, 3].
    """
    (tall, wide), (height, width) = canvas, fitted
    black = Image.new("RGB", (wide, tall))
    resized = picture.resize((width, height), Image.Resampling.BICUBIC)
    black.paste(resized, ((wide - width) // 2, (tall - height) // 2))
    squares = [picture.resize((side, side), Image.Resampling.BICUBIC)]
    squares += [
        black.crop((left, top, left + side, top + side))
        for top in range(0, tall, side)
        for left in range(0, wide, side)
    ]
    return np.stack([np.asarray(square) for square in squares])
