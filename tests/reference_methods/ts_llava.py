"""TS-LLaVA and panels: pictures of several frames, and tokens taken evenly (arXiv 2411.11066)."""

import numpy as np
import torch
from torch import Tensor

from tests.reference_family import models


def linspace(end: int, number: int) -> list[int]:
    """Round evenly spaced numbers from 0 to ``end`` half to even.

    The program's numbers are torch's in float32: no loop has the same last bits, for torch takes several at once.
    """
    return [min(max(round(value), 0), end) for value in torch.linspace(0, end, number).tolist()]


def shape(frames: int) -> tuple[int, int]:
    """Rows and columns: the factors nearest to each other, and no fewer rows than columns."""
    pairs = [(rows, frames // rows) for rows in range(1, frames + 1) if frames % rows == 0]
    return min((pair for pair in pairs if pair[0] >= pair[1]), key=lambda pair: pair[0] - pair[1])


def boxes(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """Means of the boxes of pixels: [S, S, 3] to [S / height, S / width, 3], float64."""
    rows, columns = frame.shape[0] // height, frame.shape[1] // width
    shrunk = np.zeros((rows, columns, 3))
    for row in range(rows):
        for column in range(columns):
            box = frame[row * height : (row + 1) * height, column * width : (column + 1) * width]
            shrunk[row, column] = box.reshape(-1, 3).astype(np.float64).mean(axis=0)
    return shrunk


def picture(frames: list[np.ndarray]) -> np.ndarray:
    """Place frames row by row in one picture of the size of each: float64 [S, S, 3]."""
    rows, columns = shape(len(frames))
    side = frames[0].shape[0]
    whole = np.zeros((side, side, 3))
    for number, frame in enumerate(frames):
        top, left = number // columns * (side // rows), number % columns * (side // columns)
        whole[top : top + side // rows, left : left + side // columns] = boxes(frame, rows, columns)
    return whole


def thumbnail_frames(total: int, number: int) -> list[int]:
    if total < number:
        return [*range(total), *[total - 1] * (number - total)]
    return linspace(total - 1, number)


def _normalised(folder, frames: np.ndarray) -> list[np.ndarray]:
    return list(models.pixel_values(folder, frames).permute(0, 2, 3, 1).numpy())


def _encode(folder, pictures: list[np.ndarray]) -> Tensor:
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float()
    return models.project(folder, models.tower(folder, pixels))


def thumbnail(folder, frames: np.ndarray, number: int) -> Tensor:
    """Encode the thumbnail of ``number`` frames, made of normalised pixels: [patches, D]."""
    shown = thumbnail_frames(len(frames), number)
    normalised = _normalised(folder, frames[shown])
    return _encode(folder, [picture(normalised)])[0]


def sampled(folder, frames: np.ndarray, number: int) -> Tensor:
    """Take ``number`` of all tokens: [number, D]; all of them if there are no more."""
    every = models.projected_maps(folder, frames).flatten(0, 1)
    if len(every) <= number:
        return every
    return torch.stack([every[i] for i in linspace(len(every) - 1, number)])


def grids(folder, frames: np.ndarray, each: int) -> Tensor:
    """Encode pictures of ``each`` frames; the last one is filled with the last frame."""
    pixels = _normalised(folder, frames)
    tokens = []
    while pixels:
        these, pixels = pixels[:each], pixels[each:]
        these += [these[-1]] * (each - len(these))
        tokens.append(_encode(folder, [picture(these)])[0])
    return torch.cat(tokens)
