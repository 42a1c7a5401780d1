"""Pictures in tiles, against the reference of the family."""

import random

import pytest
import torch

from sfllava_plugin.tokens.anyres import AnyRes
from tests.reference_family import anyres as reference

#: Canvases, side, grid and limit of each checkpoint; the last two are small.
CHECKPOINTS = {
    "next": (reference.NEXT_TILES, 336, 24, None),
    "onevision": (reference.ONEVISION_TILES, 384, 27, reference.MAX_TILES),
    "small next": (reference.NEXT_TILES, 84, 6, None),
    "small onevision": (reference.ONEVISION_TILES, 98, 7, reference.MAX_TILES),
}
DIGITS = {"transformers": reference.ROUNDING, "program": None}
EXTREMES = [(1, 4000), (4000, 1), (1, 1), (1, 9), (2, 100_000), (100_000, 2), (20_000, 20_000)]


def built(name, rounding="transformers", most=None) -> AnyRes:
    tiles, side, grid, limit = CHECKPOINTS[name]
    tiles = [(rows, columns) for rows, columns in tiles if rows * columns <= (most or 36)]
    sizes = reference.pinpoints(tiles, side)
    canvases = reference.swapped(sizes) if rounding == "program" else sizes
    return AnyRes(tuple(canvases), side, grid, limit, rounding)


def sizes_of(name, number: int) -> list[tuple[int, int]]:
    """Sizes of pictures: photographs and screens, icons, strips, and those that almost fill a canvas."""
    dice, (tiles, side, _, _) = random.Random(name), CHECKPOINTS[name]
    found = []
    while len(found) < number:
        rows, columns = dice.choice(tiles)
        found += [
            (dice.randint(1, 2500), dice.randint(1, 2500)),
            (round(10 ** dice.uniform(0, 3.7)), round(10 ** dice.uniform(0, 3.7))),
            (max(1, rows * side - dice.randint(-9, side)), max(1, columns * side - dice.randint(-9, side))),
        ]
    return found[:number]


def counted(picture: AnyRes, size) -> int:
    digits = DIGITS[picture.rounding]
    return reference.token_count(size, picture.canvases, picture.side, picture.grid, picture.limit, digits)


@pytest.mark.parametrize("rounding", DIGITS)
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_pictures_of_every_size_are_counted_as_by_the_reference(name, rounding):
    picture = built(name, rounding)
    for size in [*sizes_of(name, 6000), *EXTREMES]:
        assert picture.canvas(size) == reference.canvas(size, picture.canvases), size
        assert picture.count(size) == counted(picture, size), size


def arranged(picture: AnyRes, size) -> None:
    # In double precision: in single, torch's own bilinear positions are up to 6e-5 off.
    newline = torch.randn(3, dtype=torch.float64)
    features = torch.randn(picture.tiles(size), picture.grid**2, 3, dtype=torch.float64)
    arguments = (features, size, picture.canvases, picture.side, newline, picture.limit, DIGITS[picture.rounding])
    tokens, expected = picture.arrange(features, size, newline), reference.pack(*arguments)
    assert tokens.shape == (picture.count(size), 3)
    torch.testing.assert_close(tokens, expected, atol=1e-9, rtol=0, msg=str(size))


@pytest.mark.parametrize("rounding", DIGITS)
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_tokens_equal_the_reference(name, rounding):
    picture = built(name, rounding)
    for size in [(352, 748), (1153, 944), (928, 1154), *EXTREMES, *sizes_of(name, 60)]:
        arranged(picture, size)


@pytest.mark.parametrize("size", [(1, 4000), (2, 100_000)])
def test_a_strip_thinner_than_a_patch_is_seen_as_a_whole_alone(size):
    """transformers cuts an even map away, with all of its rows; of an odd one, a line stays."""
    assert built("next").count(size) == 24 * 24
    assert built("next").count(size[::-1]) == 24 * 24 + 24  # columns are cut away, and every row keeps its newline
    assert built("onevision").count(size) == 27 * 27 + built("onevision").canvas(size)[1] // 384 * 27 + 1


def test_the_program_does_not_round():
    assert [built("next", rounding).count((352, 748)) for rounding in DIGITS] == [1848, 1800]


def test_the_first_of_equal_canvases_wins():
    """The programs read the same list as (width, height): a small square picture tells."""
    assert built("next").canvas((336, 336)) == (336, 672)
    assert built("next", "program").canvas((336, 336)) == (672, 336)


@pytest.mark.parametrize(
    ("name", "most", "tokens"),
    [
        ("next", None, 2928),
        ("onevision", None, 8765),
        ("onevision", 9, 7371),
        ("onevision", 4, 3753),
        ("onevision", 1, 1485),
        ("small next", None, 192),
        ("small onevision", None, 619),
    ],
)
def test_no_picture_has_more_tokens_than_the_largest(name, most, tokens):
    picture = built(name, most=most)
    assert picture.count(picture.largest()) == tokens
    for size in [*sizes_of(name, 6000), *EXTREMES]:
        assert picture.count(size) <= tokens, size
