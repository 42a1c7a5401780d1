"""frames.py and its two readers against other ways to decode, on healthy clips and folders of images."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfllava_plugin.video import isolated
from sfllava_plugin.video.decode import decode
from sfllava_plugin.video.errors import VideoError
from sfllava_plugin.video.readers import decord_reader, pyav_reader
from sfllava_plugin.video.sampling import sample_indices
from tests.faults.encoding import encode, rotate_track
from tests.videos import (
    CLIPS,
    check_sampled,
    decode_all,
    noise,
    pil_squares,
    read_any,
    write_avi,
)

INDICES = json.loads((Path(__file__).parents[1] / "data" / "indices.json").read_text())["frame_indices"]


# -- which frames -------------------------------------------------------------------------------


@pytest.mark.parametrize("key", INDICES)
def test_sample_indices_match_the_released_program(key):
    total, wanted = map(int, key.split(","))
    assert sample_indices(total, wanted) == INDICES[key]


def test_sample_indices_keep_repeats_and_plain_ints():
    assert sample_indices(2, 50) == [0, 0]
    assert all(type(i) is int for i in sample_indices(300, 50))


@pytest.mark.parametrize(("total", "wanted"), [(0, 8), (8, 0), (-1, 8)])
def test_sample_indices_refuse_nothing(total, wanted):
    with pytest.raises(VideoError, match="1 or more"):
        sample_indices(total, wanted)


# -- healthy videos -----------------------------------------------------------------------------


def test_decord_frames_are_those_of_a_plain_walk(bikes, with_decord):
    import decord

    reader = decord.VideoReader(str(bikes))
    walk = [reader.next().asnumpy() for _ in range(len(reader))]
    video = decode(bikes, num_frames=50, image_size=64)
    assert (video.decoder, video.fps) == ("decord", 25.0)
    check_sampled(video, walk, 50, 64)


@pytest.mark.parametrize("name", ["bikes.mp4", "bigbuckbunny.mp4", "carphone_pristine.mp4"])
def test_decord_and_pyav_show_the_same_pictures(name, with_decord, monkeypatch):
    fast = decode(CLIPS / name, num_frames=20, image_size=64)
    monkeypatch.setattr(decord_reader, "_decord", lambda: None)
    slow = decode(CLIPS / name, num_frames=20, image_size=64)
    assert (fast.decoder, slow.decoder) == ("decord", "pyav")
    assert (fast.indices, fast.total_frames) == (slow.indices, slow.total_frames)
    assert fast.fps == pytest.approx(slow.fps)
    np.testing.assert_array_equal(fast.frames, slow.frames)


@pytest.mark.parametrize(
    ("pixels", "matrix"),
    [("yuv420p", None), ("yuv420p", 1), ("yuv420p", 5), ("yuvj420p", 1), ("yuv420p10le", 9), ("yuv444p", 1)],
)
def test_decord_and_pyav_show_the_same_colours(tmp_path, with_decord, monkeypatch, pixels, matrix):
    """Whatever matrix and range the video was made with: BT.601, BT.709, BT.2020, all of 0 to 255."""
    path = tmp_path / "a.mp4"
    encode(path, noise(6, 12, 12).repeat(16, 1).repeat(16, 2), pixels=pixels, matrix=matrix)
    fast = decode(path, num_frames=6, image_size=192)
    monkeypatch.setattr(decord_reader, "_decord", lambda: None)
    slow = decode(path, num_frames=6, image_size=192)
    assert (fast.decoder, slow.decoder) == ("decord", "pyav")
    np.testing.assert_array_equal(fast.frames, slow.frames)


@pytest.mark.parametrize("pixels", ["gray", "gray10le", "ya8", "yuva444p"])
def test_pyav_shows_the_grays_that_decord_would(tmp_path, with_decord, pixels):
    import decord

    path = tmp_path / "a.mkv"
    encode(path, noise(6), "ffv1", pixels)
    reader = decord.VideoReader(str(path))
    video = decode(path, num_frames=6, image_size=64)
    assert video.decoder == "pyav"
    check_sampled(video, [reader[number].asnumpy() for number in range(6)], 6, 64)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_pyav_turns_frames_as_decord_does(tmp_path, with_decord, monkeypatch, quarters):
    path = tmp_path / "a.mp4"
    encode(path, noise(4, 6, 9).repeat(16, 1).repeat(16, 2))
    path.write_bytes(rotate_track(path.read_bytes(), quarters))
    fast = decode(path, num_frames=4, image_size=64)
    monkeypatch.setattr(decord_reader, "_decord", lambda: None)
    slow = decode(path, num_frames=4, image_size=64)
    assert (fast.decoder, slow.decoder) == ("decord", "pyav")
    np.testing.assert_array_equal(fast.frames, slow.frames)


def test_interlaced_frames_are_whole(tmp_path):
    # OpenCV shows what its buffer held before, and says nothing.
    source = np.repeat(np.arange(20, 200, 15, dtype=np.uint8), 192 * 192 * 3).reshape(12, 192, 192, 3)
    encode(tmp_path / "a.mpg", source, "mpeg2video", flags="+ilme+ildct")
    video = decode(tmp_path / "a.mpg", num_frames=12, image_size=192)
    assert (video.decoder, video.total_frames) == ("pyav", 12)
    assert np.abs(video.frames.astype(int) - source[list(video.indices)]).max() < 5


def test_pyav_frames_are_those_of_a_plain_walk(bikes, without_decord):
    video = decode(bikes, num_frames=16, image_size=64)
    assert (video.decoder, video.fps) == ("pyav", 25.0)
    check_sampled(video, decode_all(bikes), 16, 64)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_give_what_the_path_gives(kind):
    path = CLIPS / "carphone_distorted.mp4"
    video = isolated.read_video(kind(path.read_bytes()), num_frames=8, image_size=32)
    same = decode(str(path), num_frames=8, image_size=32)
    assert (video.indices, video.decoder, video.fps) == (same.indices, same.decoder, same.fps)
    np.testing.assert_array_equal(video.frames, same.frames)


def test_bytes_without_memory_files(monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    path = CLIPS / "carphone_distorted.mp4"
    video = isolated.read_video(path.read_bytes(), num_frames=4, image_size=32)
    np.testing.assert_array_equal(video.frames, decode(path, num_frames=4, image_size=32).frames)


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


def test_gif_through_pyav(tmp_path):
    path = tmp_path / "a.gif"
    levels = [Image.new("RGB", (40, 30), (10 * i, 0, 0)) for i in range(12)]
    levels[0].save(path, save_all=True, append_images=levels[1:], duration=40)
    for source in (path, path.read_bytes()):
        video = read_any(source, num_frames=6, image_size=16)
        assert video.decoder == "pyav"
        check_sampled(video, decode_all(path), 6, 16)
        np.testing.assert_allclose(video.frames[..., 0].mean((1, 2)), 10 * np.array(video.indices))


@pytest.mark.parametrize("name", ["a.flv", "a.ts"])
def test_decord_is_kept_from_containers_without_an_index(name, tmp_path, with_decord, monkeypatch):
    # H.264, which decord is shown elsewhere.
    encode(tmp_path / name, noise(20))
    never_open_decord(monkeypatch)
    video = decode(tmp_path / name, num_frames=5, image_size=16)
    assert (video.decoder, video.total_frames, video.indices) == ("pyav", 20, tuple(sample_indices(20, 5)))


def never_open_decord(monkeypatch):
    monkeypatch.setattr("decord.VideoReader", lambda *_args, **_kwargs: pytest.fail("opened"))


@pytest.mark.parametrize(
    ("suffix", "codec", "pixels"),
    [
        (".mp4", "libsvtav1", "yuv420p"),
        (".mp4", "mpeg2video", "yuv420p"),
        (".mkv", "mpeg2video", "yuv420p"),
        (".avi", "mjpeg", "yuvj420p"),
        (".mov", "mjpeg", "yuvj420p"),
        (".mkv", "mjpeg", "yuvj420p"),
        (".avi", "ffv1", "yuv420p"),
        (".mkv", "ffv1", "yuv420p"),
        (".avi", "huffyuv", "rgb24"),
        (".avi", "rawvideo", "bgr24"),
        (".avi", "msmpeg4v3", "yuv420p"),
        (".avi", "flv1", "yuv420p"),
        (".mov", "prores_ks", "yuv422p10le"),
        (".mov", "qtrle", "argb"),
        (".mov", "png", "rgb24"),
        (".avi", "wmv2", "yuv420p"),
    ],
)
def test_decord_is_kept_from_other_codecs(tmp_path, with_decord, monkeypatch, suffix, codec, pixels):
    path = tmp_path / f"a{suffix}"
    encode(path, noise(4, 6, 9).repeat(16, 1).repeat(16, 2), codec, pixels, rate=25)
    never_open_decord(monkeypatch)
    video = decode(path, num_frames=4, image_size=16)
    assert (video.decoder, video.total_frames) == ("pyav", 4)


@pytest.mark.parametrize("how", [{"twice": "ffv1"}, {"audio": "pcm_s16le"}])
def test_decord_is_kept_from_other_codecs_in_any_track(tmp_path, with_decord, monkeypatch, how):
    path = tmp_path / "a.mkv"
    encode(path, noise(4), **how)
    never_open_decord(monkeypatch)
    assert decode(path, num_frames=4, image_size=16).decoder == "pyav"


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.avi", "mpeg4"),
        ("a.mkv", "libx265"),
        ("a.webm", "libvpx"),
        ("a.webm", "libvpx-vp9"),
        ("a.mp4", "mpeg4"),
    ],
)
def test_decord_reads_the_codecs_that_it_may(tmp_path, with_decord, name, codec):
    path = tmp_path / name
    encode(path, noise(4), codec)
    assert decode(path, num_frames=4, image_size=16).decoder == "decord"


def test_decord_reads_video_with_sound(tmp_path, with_decord):
    encode(tmp_path / "a.mp4", noise(4), audio=True)
    assert decode(tmp_path / "a.mp4", num_frames=4, image_size=16).decoder == "decord"


def test_a_decord_bridge_set_by_others_does_no_harm(bikes, with_decord, monkeypatch):
    import decord

    plain = decode(bikes, num_frames=3, image_size=32)
    monkeypatch.setattr(decord.video_reader, "bridge_out", lambda array: array.asnumpy())
    np.testing.assert_array_equal(decode(bikes, num_frames=3, image_size=32).frames, plain.frames)


# -- folders of images --------------------------------------------------------------------------


def test_folder_of_images_by_sorted_name(tmp_path):
    source = noise(7)
    for i in (3, 0, 6, 1, 5, 2, 4):
        Image.fromarray(source[i]).save(tmp_path / f"frame_{i:03d}.png")
    (tmp_path / "notes.txt").write_text("no frame")
    (tmp_path / "._frame_000.png").write_bytes(b"left by a Mac")
    video = decode(tmp_path, num_frames=4, image_size=20)
    assert (video.decoder, video.fps) == ("images", 0.0)
    check_sampled(video, source, 4, 20)


def test_folder_opens_sampled_images_only(tmp_path):
    for i in range(9):
        (tmp_path / f"{i}.jpg").write_bytes(b"broken")
    for i in sample_indices(9, 2):
        Image.new("L", (9, 5), 100).save(tmp_path / f"{i}.jpg")
    video = decode(tmp_path, num_frames=2, image_size=8)
    assert video.total_frames == 9 and (video.frames == 100).all()
    with pytest.raises(VideoError, match=r"\d\.jpg cannot be read as an image"):
        decode(tmp_path, num_frames=9, image_size=8)


def test_folder_takes_no_other_format_under_an_image_name(tmp_path):
    Image.new("RGB", (9, 5)).save(tmp_path / "a.png", format="PCX")  # EPS, too, would be opened
    with pytest.raises(VideoError, match=r"a\.png cannot be read as an image"):
        decode(tmp_path, num_frames=2, image_size=8)


def test_folder_image_kinds_become_rgb_before_the_resize(tmp_path):
    rgba = Image.fromarray(noise(1, channels=4)[0])
    rgba.save(tmp_path / "a.png")
    gray = Image.fromarray(noise(1, channels=1)[0])
    gray.save(tmp_path / "b.png")
    video = decode(tmp_path, num_frames=2, image_size=20)
    expected = pil_squares([np.asarray(i.convert("RGB")) for i in (rgba, gray)], 20)
    np.testing.assert_array_equal(video.frames, expected[list(video.indices)])
    assert video.indices == (0, 0)
