"""Render a scene at any moment, anti-aliased, as uint8 RGB."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from .scenes import Scene, Shape

#: RGB of each colour.
RGB = {
    "red": (214, 56, 48),
    "green": (66, 176, 78),
    "blue": (58, 104, 224),
    "yellow": (234, 206, 60),
    "purple": (168, 74, 200),
    "white": (236, 236, 236),
}
#: Fractional bits of the coordinates that OpenCV draws at.
_BITS = 6
#: Share of the flash's colour in the lit ground.
_FLASH_STRENGTH = 0.8


def draw(scene: Scene, times: list[float], side: int) -> NDArray[np.uint8]:
    """Draw ``scene`` at ``times`` (0 to 1): uint8 [len(times), side, side, 3]."""
    ground = _ground(scene, side)
    return np.stack([_picture(scene, ground, time) for time in times])


def _picture(scene: Scene, ground: NDArray[np.uint8], time: float) -> NDArray[np.uint8]:
    picture = ground.copy()
    if scene.flash and scene.flash.lights(time):
        light = np.array(RGB[scene.flash.colour], np.float32)
        picture = (picture * (1 - _FLASH_STRENGTH) + light * _FLASH_STRENGTH).astype(np.uint8)
    for shape in scene.shapes:
        if time >= shape.appears_at:
            _draw_shape(picture, shape, time)
    return picture


def _draw_shape(picture: NDArray[np.uint8], shape: Shape, time: float) -> None:
    side = len(picture)
    x, y = (value * side for value in shape.centre_at(time))
    radius, colour = shape.radius * side, RGB[shape.colour_at(time)]
    if shape.kind == "circle":
        cv2.circle(picture, _fixed(x, y), _fixed(radius)[0], colour, cv2.FILLED, cv2.LINE_AA, _BITS)
        return
    corners = [_fixed(x + radius * dx, y + radius * dy) for dx, dy in _CORNERS[shape.kind]]
    cv2.fillPoly(picture, [np.array(corners)], colour, cv2.LINE_AA, _BITS)


def _fixed(*values: float) -> tuple[int, ...]:
    # In OpenCV, whole coordinates are pixel centres.
    return tuple(round((value - 0.5) * 2**_BITS) for value in values)


def _polygon(corners: int, turn: float) -> list[tuple[float, float]]:
    angles = (turn + 2 * math.pi * corner / corners for corner in range(corners))
    return [(math.cos(angle), math.sin(angle)) for angle in angles]


def _cross(arm: float) -> list[tuple[float, float]]:
    """Corners of a plus sign whose arms are 2 * ``arm`` wide."""
    quarter = [(1.0, -arm), (1.0, arm), (arm, arm)]
    turns = [quarter]
    for _ in range(3):
        turns.append([(-y, x) for x, y in turns[-1]])
    return [corner for turn in turns for corner in turn]


#: Corners relative to the centre, in radii.
_CORNERS = {
    "square": [(0.88 * x, 0.88 * y) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))],
    "triangle": [(1.1 * x, 1.1 * y + 0.15) for x, y in _polygon(3, -math.pi / 2)],
    "cross": _cross(0.36),
}


def _ground(scene: Scene, side: int) -> NDArray[np.uint8]:
    """A dark plain, gradient or soft texture: uint8 [side, side, 3]."""
    rng = np.random.default_rng(scene.seed)
    base = rng.uniform(12, 62, 3).astype(np.float32)
    across, down = np.meshgrid(np.linspace(0, 1, side, dtype=np.float32), np.linspace(0, 1, side, dtype=np.float32))
    light: NDArray[np.floating]
    if scene.ground == "gradient":
        angle = rng.uniform(0, 2 * math.pi)
        slope = (across - 0.5) * math.cos(angle) + (down - 0.5) * math.sin(angle)
        light = slope[..., None] * rng.uniform(20, 50)
    elif scene.ground == "texture":
        coarse = rng.normal(0, 1, (12, 12, 3)).astype(np.float32)
        light = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC) * rng.uniform(4, 9)
    else:
        light = np.zeros((side, side, 1), np.float32)
    return np.clip(base + light, 0, 90).astype(np.uint8)
