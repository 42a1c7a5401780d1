"""Resizing against PIL."""

import numpy as np
import pytest
from PIL import Image

from sfllava_plugin.video import resize
from sfllava_plugin.video.errors import VideoError
from sfllava_plugin.video.fit import Fit
from sfllava_plugin.video.resize import resize_frames
from tests.reference_family import frames
from tests.videos import noise, pil_squares


def test_resize_is_pil_bicubic_and_ignores_the_aspect_ratio():
    source = noise(5)
    resized = resize_frames(source, 32)
    assert resized.shape == (5, 32, 32, 3) and resized.dtype == np.uint8
    assert resized.flags.c_contiguous
    np.testing.assert_array_equal(resized, pil_squares(source, 32))


def test_squares_of_the_right_size_do_not_change():
    source = noise(2, 32, 32)
    np.testing.assert_array_equal(resize_frames(source, 32), source)


def test_frames_of_different_kinds_keep_their_order():
    gray, rgb, rgba = noise(1, channels=1)[0], noise(1)[0], noise(1, channels=4)[0]
    palette = Image.fromarray(rgb).quantize(8)
    resized = resize_frames([gray, rgb, rgba, palette, Image.fromarray(rgb)], 20)
    expected = pil_squares([np.stack([gray] * 3, -1), rgb, rgba[..., :3], np.asarray(palette.convert("RGB")), rgb], 20)
    np.testing.assert_array_equal(resized, expected)


def test_frames_become_rgb_before_the_resize():
    rgba = Image.fromarray(noise(1, channels=4)[0])
    late = np.asarray(rgba.resize((20, 20), Image.BICUBIC).convert("RGB"))
    early = np.asarray(rgba.convert("RGB").resize((20, 20), Image.BICUBIC))
    assert (late != early).any()
    np.testing.assert_array_equal(resize_frames([rgba], 20)[0], early)


def test_one_lazy_image_many_times(tmp_path):
    Image.fromarray(noise(1)[0]).save(tmp_path / "a.png")
    image = Image.open(tmp_path / "a.png")
    np.testing.assert_array_equal(resize_frames([image] * 20, 20), pil_squares([noise(1)[0]] * 20, 20))


def test_a_short_queue_changes_nothing(monkeypatch):
    monkeypatch.setattr(resize, "_BYTES_QUEUED", 1)
    np.testing.assert_array_equal(resize_frames(noise(9), 20), pil_squares(noise(9), 20))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), "uint8"),
        (np.zeros((2, 3, 8, 8), np.uint8), "height, width, 3"),
        (np.zeros((2, 0, 8, 3), np.uint8), "height, width, 3"),
        ([], "1 or more"),
    ],
)
def test_other_arrays_are_refused(wrong, message):
    with pytest.raises(VideoError, match=message):
        resize_frames(wrong, 8)


def test_a_size_of_zero_is_refused():
    with pytest.raises(VideoError, match="1 or more"):
        resize_frames(noise(1), 0)


def test_an_array_of_the_right_squares_is_not_copied():
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    assert resize_frames(frames, 8) is frames
    fixed = frames.copy()
    fixed.flags.writeable = False
    for other in (fixed, frames[:, ::-1], list(frames)):
        resized = resize_frames(other, 8)
        assert resized is not other
        assert np.array_equal(resized, np.asarray(other))
        assert resized.flags.writeable


@pytest.mark.parametrize("side", [48, 336])
def test_shrink_crop_resamples_twice(side):
    rng = np.random.default_rng(side)
    sizes = [(640, 272), (1920, 1080), (1080, 1920), (1280, 720), (320, 240), (336, 336), (400, 380), (900, 20)]
    sizes += [tuple(rng.integers(30, 900, 2).tolist()) for _ in range(20)]
    pictures = [Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)) for width, height in sizes]
    expected = np.stack([np.asarray(frames.shrink_crop(picture, side)) for picture in pictures])
    np.testing.assert_array_equal(resize_frames(pictures, side, Fit("shrink_crop")), expected)
    once = resize_frames(pictures[1:2], 48, Fit("crop"))
    assert (once != resize_frames(pictures[1:2], 48, Fit("shrink_crop"))).any()


@pytest.mark.parametrize("side", [48, 336])
@pytest.mark.parametrize("kind", ["squash", "crop", "pad"])
def test_every_fit_is_that_of_the_reference(kind, side):
    rng = np.random.default_rng(side)
    sizes = [(640, 272), (272, 640), (337, 500), (333, 332), (20, 900), (336, 336), (48, 48), (48, 90), (1, 7), (7, 1)]
    sizes += [tuple(rng.integers(1, 700, 2).tolist()) for _ in range(20)]
    pictures = [Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)) for width, height in sizes]
    colour = (0.48145466, 0.4578275, 0.40821073)
    fit = {"pad": lambda picture, side: frames.pad(picture, side, colour)}.get(kind) or getattr(frames, kind)
    expected = np.stack([np.asarray(fit(picture, side)) for picture in pictures])
    np.testing.assert_array_equal(resize_frames(pictures, side, Fit(kind, (122, 116, 104))), expected)


@pytest.mark.parametrize("kind", ["crop", "pad", "shrink_crop"])
@pytest.mark.parametrize("size", [(1, 100_000), (100_000, 1)])
def test_a_line_that_would_take_gigabytes_is_refused_by_name(kind, size):
    height, width = size
    picture = Image.new("RGB", (width, height))
    with pytest.raises(VideoError, match=f"^a picture of {width}x{height} pixels is too narrow for fit '{kind}'; give"):
        resize_frames([picture], 336, Fit(kind))


def test_8k_video_and_narrow_strips_are_not():
    for kind in ("crop", "pad", "shrink_crop"):
        for size in ((8192, 4320), (4320, 8192), (3, 1000)):
            assert resize_frames([Image.new("RGB", size)], 14, Fit(kind)).shape == (1, 14, 14, 3)
    assert resize_frames([Image.new("RGB", (100_000, 1))], 336).shape == (1, 336, 336, 3)


NATIVE = Fit("native")


def test_native_frames_stay_as_they_are():
    source = noise(3, 30, 50)
    assert resize_frames(source, 16, NATIVE) is source
    np.testing.assert_array_equal(resize_frames(list(source), 16, NATIVE), source)
    np.testing.assert_array_equal(resize_frames([Image.fromarray(frame) for frame in source], 16, NATIVE), source)


def test_native_frames_get_the_size_of_the_first():
    first, wide, tall = noise(1, 30, 50)[0], noise(1, 20, 90)[0], noise(1, 60, 50)[0]
    stacked = resize_frames([first, wide, tall], 16, NATIVE)
    alike = [np.asarray(Image.fromarray(frame).resize((50, 30), Image.BICUBIC)) for frame in (wide, tall)]
    np.testing.assert_array_equal(stacked, np.stack([first, *alike]))


@pytest.mark.parametrize("frames", [[], np.zeros((0, 4, 4, 3), np.uint8), np.zeros((2, 4, 4, 2), np.uint8)])
def test_native_frames_are_refused_as_others_are(frames):
    with pytest.raises(VideoError):
        resize_frames(frames, 16, NATIVE)
