"""Tiles of pictures, bit by bit those of the reference of the family."""

import random

import numpy as np
import pytest
from PIL import Image

from sfllava_plugin.tokens.anyres import AnyRes
from sfllava_plugin.video.tiles import cut_tiles
from tests.reference_family import anyres

CHECKPOINTS = {"next": (anyres.NEXT_TILES, 336), "onevision": (anyres.ONEVISION_TILES, 384)}
SIZES = [(480, 640), (1080, 1920), (1153, 944), (352, 748), (336, 336), (37, 500), (1, 9), (9, 1), (1, 4000), (4000, 1)]


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_tiles_equal_the_reference(name):
    tiles, side = CHECKPOINTS[name]
    sizes, dice = anyres.pinpoints(tiles, side), random.Random(name)
    picture_of = AnyRes(tuple(sizes), side, side // 14, None, "transformers")
    for size in SIZES + [(dice.randint(1, 900), dice.randint(1, 900)) for _ in range(15)]:
        picture = Image.fromarray(np.random.default_rng(sum(size)).integers(0, 256, (*size, 3), np.uint8))
        found = cut_tiles(picture, picture_of.canvas(size), picture_of.fitted(size), side)
        assert found.shape == (picture_of.tiles(size), side, side, 3)
        np.testing.assert_array_equal(found, np.stack(anyres.tiles(picture, sizes, side)), err_msg=str(size))
