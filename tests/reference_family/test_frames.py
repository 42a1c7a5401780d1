"""Frame rules and resizing, against transformers' image processors."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from tests.reference_family import frames, time_instruction

SIZES = [(640, 480), (480, 640), (337, 500), (333, 332), (20, 900), (336, 336), (1920, 1080), (99, 100)]


def picture(width: int, height: int) -> Image.Image:
    """Noise over a slope, so that any shift shows."""
    noise = np.random.default_rng(width * 10000 + height).integers(0, 256, (height, width, 3))
    return Image.fromarray(((noise + np.arange(width)[None, :, None]) % 256).astype(np.uint8))


def normalised(resized: Image.Image, mean, std) -> torch.Tensor:
    return torch.from_numpy(frames.normalise(np.asarray(resized)[None], mean, std))


@pytest.mark.parametrize("size", SIZES)
def test_crop_equals_clip_processor(size):
    processor = CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336})
    expected = processor(picture(*size), return_tensors="pt").pixel_values
    assert torch.equal(normalised(frames.crop(picture(*size), 336), frames.CLIP_MEAN, frames.CLIP_STD), expected)


@pytest.mark.parametrize("size", SIZES)
def test_pad_equals_llava_processor(size):
    processor = LlavaImageProcessorPil(
        do_pad=True, size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}
    )
    expected = processor(picture(*size), return_tensors="pt").pixel_values
    padded = frames.pad(picture(*size), 336, frames.CLIP_MEAN)
    assert torch.equal(normalised(padded, frames.CLIP_MEAN, frames.CLIP_STD), expected)


@pytest.mark.parametrize("size", SIZES)
def test_squash_equals_siglip_processor(size):
    processor = SiglipImageProcessorPil(size={"height": 384, "width": 384})
    expected = processor(picture(*size), return_tensors="pt").pixel_values
    assert torch.equal(normalised(frames.squash(picture(*size), 384), frames.HALF, frames.HALF), expected)


@pytest.mark.parametrize(
    ("size", "short"),
    [
        ((1920, 1080), 360),  # 640 wide
        ((1080, 1920), 360),
        ((1280, 960), 480),
        ((640, 272), 336),
        ((320, 240), 336),
        ((400, 380), 380),
        ((336, 336), 336),
        ((900, 20), 336),
    ],
)
def test_shrink_crop_equals_clip_processor_twice(size, short):
    first = CLIPImageProcessorPil(
        size={"shortest_edge": short}, do_center_crop=False, do_rescale=False, do_normalize=False
    )
    shrunk = first(picture(*size), return_tensors="np").pixel_values[0].transpose(1, 2, 0)
    assert (min(shrunk.shape[:2]), shrunk.dtype) == (short, np.uint8)
    second = CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336})
    expected = second(Image.fromarray(shrunk), return_tensors="pt").pixel_values
    found = frames.shrink_crop(picture(*size), 336)
    assert torch.equal(normalised(found, frames.CLIP_MEAN, frames.CLIP_STD), expected)


def test_pad_colours():
    corner = [frames.pad(picture(40, 20), 40, mean).getpixel((0, 0)) for mean in (frames.CLIP_MEAN, frames.HALF)]
    assert corner == [(122, 116, 104), (127, 127, 127)]


def test_linspace_reaches_both_ends_and_repeats():
    assert frames.linspace(100, 4) == [0, 33, 66, 99]
    assert frames.linspace(3, 5) == [0, 0, 1, 1, 2]
    assert frames.linspace(7, 1) == [0]


@pytest.mark.parametrize(
    ("total", "wanted", "fps", "force", "expected"),
    [
        (100, 8, 25.0, False, [0, 25, 50, 75]),
        (100, 4, 25.0, False, [0, 25, 50, 75]),
        (101, 4, 25.0, False, [0, 33, 66, 100]),  # the fifth second exceeds four frames
        (100, 3, 25.0, True, [0, 49, 99]),
        (10, 64, 2.5, False, [0, 2, 4, 6, 8]),  # rounds half to even
        (3, 64, 0.2, False, [0, 1, 2]),
    ],
)
def test_each_second(total, wanted, fps, force, expected):
    assert frames.each_second(total, wanted, fps, force=force) == expected


def test_pllava_middles():
    assert frames.pllava(33, 4) == [4, 12, 20, 28]
    assert frames.pllava(11, 4) == [1, 3, 6, 9]  # 2.5 and 7.5 round to even


def test_time_instruction():
    indices = frames.each_second(100, 3, 29.97, force=True)
    assert time_instruction.for_video(100, 29.97, indices, uniform=True) == (
        "The video lasts for 3.34 seconds, and 3 frames are uniformly sampled from it. These frames are located at "
        "0.00s,1.63s,3.30s.Please answer the following questions related to this video."
    )


def test_times_at_one_a_second_are_whole():
    assert time_instruction.times([0, 30, 60], 29.97, uniform=False) == [0, 1, 2]
    assert time_instruction.times([0, 30], 29.97, uniform=True)[1] == pytest.approx(1.001001)


def test_repeated_frames_count():
    assert "and 5 frames are" in time_instruction.for_video(3, 1.0, frames.linspace(3, 5), uniform=True)
