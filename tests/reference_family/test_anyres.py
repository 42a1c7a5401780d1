"""Pictures in tiles, against transformers' processors and its packing of features."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_next.modeling_llava_next import LlavaNextModel
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.llava_onevision.modeling_llava_onevision import LlavaOnevisionModel

from tests.reference_family import anyres, frames
from tests.reference_family.test_frames import picture

NEXT = anyres.pinpoints(anyres.NEXT_TILES, 336)
ONEVISION = anyres.pinpoints(anyres.ONEVISION_TILES, 384)
# (height, width); 1153 x 944, 1080 x 1920 and 928 x 1154 exceed OneVision's limit, the last where floor division and a
# truncated quotient differ; 352 x 748 needs the rounding.
SIZES = [
    *((480, 640), (640, 480), (720, 1280), (336, 336), (384, 384), (322, 40), (352, 748), (748, 352)),
    *((500, 700), (1153, 944), (1080, 1920), (37, 500), (1, 9), (201, 199), (928, 1154)),
]


def as_pixels(tiles, mean, std) -> torch.Tensor:
    return torch.from_numpy(frames.normalise(np.stack([np.asarray(tile) for tile in tiles]), mean, std))


@pytest.mark.parametrize("size", [size for size in SIZES if size != (1, 9)])
def test_tiles_equal_the_processors(size):
    shown = picture(size[1], size[0])
    square = {"height": 336, "width": 336}
    processor = LlavaNextImageProcessorPil(size={"shortest_edge": 336}, crop_size=square, image_grid_pinpoints=NEXT)
    expected = processor(shown, return_tensors="pt").pixel_values[0]
    assert torch.equal(as_pixels(anyres.tiles(shown, NEXT, 336), frames.CLIP_MEAN, frames.CLIP_STD), expected)
    processor = LlavaOnevisionImageProcessorPil(image_mean=frames.HALF, image_std=frames.HALF)
    expected = processor(shown, return_tensors="pt").pixel_values[0]
    assert torch.equal(as_pixels(anyres.tiles(shown, ONEVISION, 384), frames.HALF, frames.HALF), expected)


def packed_by_transformers(model_class, features, size, sizes, side, newline, **arguments):
    """Call a model's packing without building the model."""
    vision = SimpleNamespace(image_size=side, patch_size=14)
    model = SimpleNamespace(config=SimpleNamespace(vision_config=vision, image_grid_pinpoints=[list(s) for s in sizes]))
    return model_class.pack_image_features(model, [features], [size], image_newline=newline, **arguments)[0][0]


def features_of(size, sizes, side, grid) -> torch.Tensor:
    tall, wide = anyres.canvas(size, sizes)
    return torch.randn(1 + tall * wide // side**2, grid**2, 3)


@pytest.mark.parametrize("size", SIZES)
def test_packing_equals_transformers(size):
    newline = torch.randn(3)
    arguments = (features_of(size, NEXT, 336, 24), size, NEXT, 336, newline)
    tokens = anyres.pack(*arguments)
    expected = packed_by_transformers(LlavaNextModel, *arguments, vision_feature_select_strategy="default")
    assert torch.equal(tokens, expected)
    assert anyres.token_count(size, NEXT, 336, 24) == len(tokens)

    arguments = (features_of(size, ONEVISION, 384, 27), size, ONEVISION, 384, newline)
    tokens = anyres.pack(*arguments, max_tiles=anyres.MAX_TILES)
    expected = packed_by_transformers(LlavaOnevisionModel, *arguments)
    torch.testing.assert_close(tokens, expected, atol=3e-5, rtol=0)  # bilinear positions are single in torch
    assert anyres.token_count(size, ONEVISION, 384, 27, anyres.MAX_TILES) == len(tokens)


def test_one_base_alone_ends_in_a_newline():
    features, newline = torch.randn(1, 729, 3), torch.randn(3)
    expected = packed_by_transformers(LlavaOnevisionModel, features, (50, 60), ONEVISION, 384, newline)
    assert torch.equal(anyres.pack(features, (50, 60), ONEVISION, 384, newline), expected)


@pytest.mark.parametrize(
    ("size", "on_next", "on_onevision"),
    [
        ((480, 640), 2340, 2929),
        ((720, 1280), 1948, 5967),
        ((1080, 1920), 1948, 7269),
        ((336, 336), 1176, 1485),
        ((322, 40), 648, None),
        ((1153, 944), None, 8765),
        ((672, 672), 2928, None),
        ((384, 384), None, 1485),  # one tile is laid out like many: 729 + 27 * 28
    ],
)
def test_counts_of_the_specification(size, on_next, on_onevision):
    assert on_next in (None, anyres.token_count(size, NEXT, 336, 24))
    assert on_onevision in (None, anyres.token_count(size, ONEVISION, 384, 27, anyres.MAX_TILES))


def test_the_program_does_not_round():
    counts = [anyres.token_count((352, 748), NEXT, 336, 24, digits=digits) for digits in (anyres.ROUNDING, None)]
    assert counts == [1848, 1800]


def test_order_of_pinpoints_decides_ties():
    # A small square fits both 1 x 2 and 2 x 1 tiles equally well.
    assert anyres.canvas((336, 336), NEXT) == (336, 672)
    assert anyres.canvas((336, 336), anyres.swapped(NEXT)) == (672, 336)


def test_largest_counts():
    sizes = [(height, width) for height in range(300, 2400, 37) for width in range(300, 2400, 41)]
    assert max(anyres.token_count(size, NEXT, 336, 24) for size in sizes) <= 2928
    assert max(anyres.token_count(size, ONEVISION, 384, 27, anyres.MAX_TILES) for size in sizes) <= 8765


def test_shrinking_floors_in_floating_point():
    # 135 / (10 / 9) is 121.5, but 60 / (10 / 9), exactly 54, floors to 53.
    assert math.sqrt(60 * 135 / (9 * 729)) == 10 / 9
    assert anyres.shrunk((60, 135), 27, anyres.MAX_TILES) == (53, 121)
