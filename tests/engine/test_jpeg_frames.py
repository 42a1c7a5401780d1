"""Videos sent as JPEG frames match a folder of the same images."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfllava_plugin.engine.serving import jpeg_frames
from sfllava_plugin.engine.serving.video_loader import LoaderOptions
from sfllava_plugin.limits import Limits
from sfllava_plugin.video.decode import decode
from sfllava_plugin.video.errors import VideoError

OPTIONS = LoaderOptions(frames=8, image_size=16, limits=Limits(pixels=40 * 30))


def jpegs(count, width=40, height=30):
    rng, found = np.random.default_rng(0), []
    for _ in range(count):
        data = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(data, "JPEG")
        found.append(data.getvalue())
    return found


def encoded(frames):
    return ",".join(base64.b64encode(frame).decode() for frame in frames)


@pytest.mark.parametrize("count", [1, 2, 8, 21])
def test_they_match_a_folder_of_the_same_images(tmp_path: Path, count):
    made = jpegs(count)
    for number, frame in enumerate(made):
        (tmp_path / f"{number:03}.jpg").write_bytes(frame)
    expected = decode(tmp_path, num_frames=8, image_size=16)
    frames, metadata = jpeg_frames.load(encoded(made), 8, OPTIONS)
    np.testing.assert_array_equal(frames, expected.frames)
    assert metadata["frames_indices"] == list(expected.indices)
    assert metadata["total_num_frames"] == count


def test_an_error_names_a_frame_with_too_many_pixels():
    made = [*jpegs(1, width=41), *jpegs(2)]
    with pytest.raises(VideoError, match="frame 0 has 41x30, the limit is 1200 pixels"):
        jpeg_frames.load(encoded(made), 8, LoaderOptions(8, 16, Limits(pixels=1200)))
