"""Scenes: places and motion of shapes, changes, and flashes.

Lengths are fractions of the picture's side, times fractions of the clip.
"""

import math
import random
from dataclasses import dataclass, replace

COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
SHAPES = ("circle", "square", "triangle", "cross")
COLUMNS = ("left", "middle", "right")
ROWS = ("top", "middle", "bottom")
GROUNDS = ("plain", "gradient", "texture")

#: Centres of the three columns and rows.
CELLS = (0.25, 0.5, 0.75)
#: Largest distance of a shape from its cell's centre, along each axis.
_JITTER = 0.042
#: The shortest path that counts as a motion.
_SHORTEST_PATH = 0.2
#: Changes and arrivals happen in this interval, which leaves long stretches before and after.
_MIDDLE = (0.35, 0.65)
#: A flash falls between the slow frames, for 4 slow frames of 8, 16 or 32: only the fast pathway sees it.
FLASH_WINDOWS = ((0.075, 0.268), (0.325, 0.503), (0.560, 0.752), (0.810, 0.995))
#: Lasts one frame of 8, two of 16, four or five of 32.
FLASH_LENGTH = 0.14

Point = tuple[float, float]


@dataclass(frozen=True)
class Shape:
    """A shape whose centre (x, y) moves steadily from ``start`` to ``end``."""

    kind: str
    colour: str
    start: Point
    end: Point
    radius: float
    later_colour: str | None = None
    changes_at: float = 1.0
    appears_at: float = 0.0

    @property
    def moves(self) -> bool:
        return self.start != self.end

    @property
    def direction(self) -> str:
        """left, right, up, down or nowhere."""
        (x, y), (to_x, to_y) = self.start, self.end
        if abs(to_x - x) > abs(to_y - y):
            return "right" if to_x > x else "left"
        if self.moves:
            return "down" if to_y > y else "up"
        return "nowhere"

    def colour_at(self, time: float) -> str:
        return self.later_colour if self.later_colour and time >= self.changes_at else self.colour

    def centre_at(self, time: float) -> Point:
        (x, y), (to_x, to_y) = self.start, self.end
        return x + (to_x - x) * time, y + (to_y - y) * time


@dataclass(frozen=True)
class Flash:
    """The whole ground lights up in ``colour`` for a moment."""

    colour: str
    begins: float

    def lights(self, time: float) -> bool:
        return self.begins <= time < self.begins + FLASH_LENGTH


@dataclass(frozen=True)
class Scene:
    """One or two different shapes, on a dark ground drawn from ``seed``."""

    seed: int
    shapes: tuple[Shape, ...]
    ground: str
    flash: Flash | None = None

    @property
    def arrives(self) -> bool:
        """True if the second shape appears later than the first."""
        return self.shapes[-1].appears_at > 0


def cell(value: float) -> int:
    """Column or row of a coordinate: 0, 1 or 2."""
    return min(range(3), key=lambda index: abs(CELLS[index] - value))


def random_scene(seed: int, *, one_shape: bool = False) -> Scene:
    """Make the scene of a seed; with ``one_shape``, never more than one."""
    rng = random.Random(seed)
    colours = rng.sample(COLOURS, len(COLOURS))
    kinds = rng.sample(SHAPES, 2)
    shapes: tuple[Shape, ...]
    if one_shape or rng.random() < 0.5:
        shapes = (_single(rng, kinds[0], colours),)
    elif rng.random() < 0.5:
        shapes = _together(rng, kinds, colours)
    else:
        shapes = _arriving(rng, kinds, colours)
    # No shape has the flash's colour, so none vanishes in it.
    flash = Flash(colours[3], _flash_begins(rng)) if rng.random() < 0.8 else None
    return Scene(seed, shapes, rng.choice(GROUNDS), flash)


def _flash_begins(rng: random.Random) -> float:
    low, high = rng.choice(FLASH_WINDOWS)
    return rng.uniform(low, high - FLASH_LENGTH)


def _single(rng: random.Random, kind: str, colours: list[str]) -> Shape:
    if rng.random() < 0.65:
        start, end = _path(rng)
    else:
        start = end = _near(rng, rng.choice(CELLS), rng.choice(CELLS))
    return _maybe_recoloured(rng, Shape(kind, colours[0], start, end, _radius(rng)), colours[2])


def _together(rng: random.Random, kinds: list[str], colours: list[str]) -> tuple[Shape, Shape]:
    """Two shapes in opposite rows or columns, along which one may move."""
    start, end, across = _opposite(rng, moving=rng.random() < 0.75)
    first = Shape(kinds[0], colours[0], start, end, _radius(rng))
    return first, Shape(kinds[1], colours[1], across, across, _radius(rng))


def _arriving(rng: random.Random, kinds: list[str], colours: list[str]) -> tuple[Shape, Shape]:
    start, end, across = _opposite(rng, moving=False)
    first = Shape(kinds[0], colours[0], start, end, _radius(rng))
    later = Shape(kinds[1], colours[1], across, across, _radius(rng), appears_at=rng.uniform(*_MIDDLE))
    return first, later


def _opposite(rng: random.Random, *, moving: bool) -> tuple[Point, Point, Point]:
    """Start and end of one shape, and another's place beside its path."""
    near, far = rng.sample((CELLS[0], CELLS[2]), 2)
    horizontal = rng.random() < 0.5
    while True:
        begin, finish = rng.sample(CELLS, 2)
        start = _near(rng, *_turned(begin, near, horizontal))
        end = _along(start, finish + rng.uniform(-_JITTER, _JITTER), horizontal) if moving else start
        if not moving or math.dist(start, end) >= _SHORTEST_PATH:
            return start, end, _near(rng, *_turned(rng.choice(CELLS), far, horizontal))


def _path(rng: random.Random) -> tuple[Point, Point]:
    while True:
        begin, finish = rng.sample(CELLS, 2)
        other, horizontal = rng.choice(CELLS), rng.random() < 0.5
        start = _near(rng, *_turned(begin, other, horizontal))
        end = _along(start, finish + rng.uniform(-_JITTER, _JITTER), horizontal)
        if math.dist(start, end) >= _SHORTEST_PATH:
            return start, end


def _turned(along: float, across: float, horizontal: bool) -> Point:
    return (along, across) if horizontal else (across, along)


def _along(start: Point, finish: float, horizontal: bool) -> Point:
    return (finish, start[1]) if horizontal else (start[0], finish)


def _near(rng: random.Random, x: float, y: float) -> Point:
    return x + rng.uniform(-_JITTER, _JITTER), y + rng.uniform(-_JITTER, _JITTER)


def _radius(rng: random.Random) -> float:
    return rng.uniform(0.115, 0.156)


def _maybe_recoloured(rng: random.Random, shape: Shape, colour: str) -> Shape:
    if rng.random() < 0.5:
        return shape
    return replace(shape, later_colour=colour, changes_at=rng.uniform(*_MIDDLE))
