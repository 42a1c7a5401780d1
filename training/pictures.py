"""Training pictures: scenes at training resolution, degraded as video files degrade them."""

import random

import cv2
import numpy as np

from sfllava_plugin.shapes import clips
from sfllava_plugin.shapes.drawing import draw
from sfllava_plugin.shapes.scenes import Scene
from sfllava_plugin.video.resize import resize_frames
from sfllava_plugin.video.sampling import sample_indices
from training.model import IMAGE_SIZE

#: Twice the tower's size, so that pictures are resized as in use.
_SIDE = 2 * IMAGE_SIZE


def moments(frames: int) -> list[float]:
    """Times of the frames sampled from a clip's file."""
    return [clips.moment(index) for index in sample_indices(clips.FRAMES, frames)]


def pictures(scene: Scene, times: list[float], rng: random.Random) -> np.ndarray:
    """Draw pictures, degraded as in video files: uint8 [len(times), S, S, 3]."""
    drawn = draw(scene, times, _SIDE)
    noise, blur, quality = rng.choice((0, 0, 3, 6)), rng.random() < 0.3, rng.choice((None, 35, 60, 85))
    if noise:
        grain = np.random.default_rng(rng.getrandbits(32)).normal(0, noise, drawn.shape[1:])
        shifts = [rng.randrange(_SIDE) for _ in times]
        grains = np.stack([np.roll(grain, shift, (0, 1)) for shift in shifts])
        drawn = np.clip(drawn + grains, 0, 255).astype(np.uint8)
    return resize_frames([_degraded(picture, blur, quality) for picture in drawn], IMAGE_SIZE)


def _degraded(picture: np.ndarray, blur: bool, quality: int | None) -> np.ndarray:
    if blur:
        picture = cv2.GaussianBlur(picture, (3, 3), 0)
    if quality is None:
        return picture
    _, code = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(code, cv2.IMREAD_COLOR)
