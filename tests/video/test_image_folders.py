"""Folders of images, read as videos."""

import numpy as np
import pytest
from PIL import Image

from sfllava_plugin.video.decode import decode
from sfllava_plugin.video.errors import VideoError
from sfllava_plugin.video.sampling import sample_indices
from tests.videos import check_sampled, noise, pil_squares


def test_images_are_read_in_order_of_name(tmp_path):
    source = noise(7)
    for i in (3, 0, 6, 1, 5, 2, 4):
        Image.fromarray(source[i]).save(tmp_path / f"frame_{i:03d}.png")
    (tmp_path / "notes.txt").write_text("no frame")
    (tmp_path / "._frame_000.png").write_bytes(b"left by a Mac")
    video = decode(tmp_path, num_frames=4, image_size=20)
    assert (video.decoder, video.fps) == ("images", 0.0)
    check_sampled(video, source, 4, 20)


def test_only_sampled_images_are_opened(tmp_path):
    for i in range(9):
        (tmp_path / f"{i}.jpg").write_bytes(b"broken")
    for i in sample_indices(9, 2):
        Image.new("L", (9, 5), 100).save(tmp_path / f"{i}.jpg")
    video = decode(tmp_path, num_frames=2, image_size=8)
    assert video.total_frames == 9 and (video.frames == 100).all()
    with pytest.raises(VideoError, match=r"\d\.jpg cannot be read as an image"):
        decode(tmp_path, num_frames=9, image_size=8)


def test_other_formats_under_an_image_name_are_refused(tmp_path):
    Image.new("RGB", (9, 5)).save(tmp_path / "a.png", format="PCX")  # if PIL opens this, it opens EPS too
    with pytest.raises(VideoError, match=r"a\.png cannot be read as an image"):
        decode(tmp_path, num_frames=2, image_size=8)


def test_images_become_rgb_before_the_resize(tmp_path):
    rgba = Image.fromarray(noise(1, channels=4)[0])
    rgba.save(tmp_path / "a.png")
    gray = Image.fromarray(noise(1, channels=1)[0])
    gray.save(tmp_path / "b.png")
    video = decode(tmp_path, num_frames=2, image_size=20)
    expected = pil_squares([np.asarray(i.convert("RGB")) for i in (rgba, gray)], 20)
    np.testing.assert_array_equal(video.frames, expected[list(video.indices)])
    assert video.indices == (0, 0)
