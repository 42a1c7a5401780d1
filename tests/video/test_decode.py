"""Healthy videos of every kind of source and length."""

import os

import numpy as np
import pytest
from PIL import Image

from sfllava_plugin.limits import Limits
from sfllava_plugin.video import isolated
from sfllava_plugin.video.decode import decode
from sfllava_plugin.video.errors import VideoError
from sfllava_plugin.video.fit import Fit
from sfllava_plugin.video.readers import decord_reader, pyav_reader
from sfllava_plugin.video.sampling import sample_indices
from tests.videos import CLIPS, check_sampled, decode_all, read_any, write_avi


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_and_path_give_the_same_frames(kind):
    path = CLIPS / "carphone_distorted.mp4"
    video = isolated.read_video(kind(path.read_bytes()), num_frames=8, image_size=32)
    same = decode(str(path), num_frames=8, image_size=32)
    assert (video.indices, video.decoder, video.fps) == (same.indices, same.decoder, same.fps)
    np.testing.assert_array_equal(video.frames, same.frames)


def test_bytes_are_read_without_memfd(monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    path = CLIPS / "carphone_distorted.mp4"
    video = isolated.read_video(path.read_bytes(), num_frames=4, image_size=32)
    np.testing.assert_array_equal(video.frames, decode(path, num_frames=4, image_size=32).frames)


def test_native_frames_leave_the_worker_as_they_were_decoded():
    path = CLIPS / "carphone_distorted.mp4"
    video = isolated.read_video(path, num_frames=6, image_size=32, sampling="step", fit=Fit("native"))
    source = decode_all(path)
    assert video.size == source[0].shape[:2]
    np.testing.assert_array_equal(video.frames, np.stack([source[index] for index in video.indices]))


def test_native_frames_are_within_the_limit_on_pixels():
    path = CLIPS / "carphone_distorted.mp4"
    few = Limits(pixels=100)
    with pytest.raises(VideoError, match="the limit is 100 pixels"):
        isolated.read_video(path, num_frames=6, image_size=32, fit=Fit("native"), limits=few)


def test_a_short_video_yields_fewer_frames(tmp_path):
    path = write_avi(tmp_path / "short.avi", 9)
    video = decode(path, num_frames=50, image_size=32)
    assert video.frames.shape == (9, 32, 32, 3) and video.total_frames == 9
    assert video.indices == tuple(sample_indices(9, 50))
    levels = video.frames.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(levels, 8 * np.array(video.indices), atol=2)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("decord_missing", [False, True])
def test_tiny_videos_repeat_their_first_frame(tmp_path, monkeypatch, count, decord_missing):
    if decord_missing:
        monkeypatch.setattr(decord_reader, "_decord", lambda: None)
    path = write_avi(tmp_path / "tiny.avi", count)
    video = decode(path, num_frames=50, image_size=32)
    assert video.indices == (0,) * count
    assert video.frames.flags.c_contiguous
    check_sampled(video, decode_all(path), 50, 32)


def test_repeated_frames_are_decoded_once(tmp_path, monkeypatch):
    path = write_avi(tmp_path / "five.avi", 5)
    repeats = sample_indices(5, 50)
    assert len(set(repeats)) < len(repeats)
    asked = []
    monkeypatch.setattr(decord_reader, "_decord", lambda: None)
    original = pyav_reader.PyAVReader.frames
    monkeypatch.setattr(
        pyav_reader.PyAVReader,
        "frames",
        lambda self, wanted: asked.append(wanted) or original(self, wanted),
    )
    video = decode(path, num_frames=50, image_size=16)
    assert asked == [sorted(set(repeats))]
    check_sampled(video, decode_all(path), 50, 16)


def test_pyav_reads_gif(tmp_path):
    path = tmp_path / "a.gif"
    levels = [Image.new("RGB", (40, 30), (10 * i, 0, 0)) for i in range(12)]
    levels[0].save(path, save_all=True, append_images=levels[1:], duration=40)
    for source in (path, path.read_bytes()):
        video = read_any(source, num_frames=6, image_size=16)
        assert video.decoder == "pyav"
        check_sampled(video, decode_all(path), 6, 16)
        np.testing.assert_allclose(video.frames[..., 0].mean((1, 2)), 10 * np.array(video.indices))
