"""Both readers on healthy videos: their frames, and the choice between them."""

import numpy as np
import pytest

from sfllava_plugin.video.decode import decode
from sfllava_plugin.video.readers import decord_reader
from sfllava_plugin.video.sampling import sample_indices
from tests.faults.encoding import encode, rotate_track
from tests.videos import CLIPS, check_sampled, decode_all, noise

# -- the frames ---------------------------------------------------------------------------------


def test_decord_seeks_to_the_frames_of_a_sequential_read(bikes, with_decord):
    import decord

    reader = decord.VideoReader(str(bikes))
    frames = [reader.next().asnumpy() for _ in range(len(reader))]
    video = decode(bikes, num_frames=50, image_size=64)
    assert (video.decoder, video.fps) == ("decord", 25.0)
    check_sampled(video, frames, 50, 64)


@pytest.mark.parametrize("name", ["bikes.mp4", "bigbuckbunny.mp4", "carphone_pristine.mp4"])
def test_decord_and_pyav_give_the_same_frames(name, with_decord, monkeypatch):
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
def test_decord_and_pyav_give_the_same_colours(tmp_path, with_decord, monkeypatch, pixels, matrix):
    """For videos in BT.601, BT.709 and BT.2020, of limited and full range."""
    path = tmp_path / "a.mp4"
    encode(path, noise(6, 12, 12).repeat(16, 1).repeat(16, 2), pixels=pixels, matrix=matrix)
    fast = decode(path, num_frames=6, image_size=192)
    monkeypatch.setattr(decord_reader, "_decord", lambda: None)
    slow = decode(path, num_frames=6, image_size=192)
    assert (fast.decoder, slow.decoder) == ("decord", "pyav")
    np.testing.assert_array_equal(fast.frames, slow.frames)


@pytest.mark.parametrize("pixels", ["gray", "gray10le", "ya8", "yuva444p"])
def test_pyav_reads_gray_video_like_decord(tmp_path, with_decord, pixels):
    import decord

    path = tmp_path / "a.mkv"
    encode(path, noise(6), "ffv1", pixels)
    reader = decord.VideoReader(str(path))
    video = decode(path, num_frames=6, image_size=64)
    assert video.decoder == "pyav"
    check_sampled(video, [reader[number].asnumpy() for number in range(6)], 6, 64)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_pyav_rotates_frames_like_decord(tmp_path, with_decord, monkeypatch, quarters):
    path = tmp_path / "a.mp4"
    encode(path, noise(4, 6, 9).repeat(16, 1).repeat(16, 2))
    path.write_bytes(rotate_track(path.read_bytes(), quarters))
    fast = decode(path, num_frames=4, image_size=64)
    monkeypatch.setattr(decord_reader, "_decord", lambda: None)
    slow = decode(path, num_frames=4, image_size=64)
    assert (fast.decoder, slow.decoder) == ("decord", "pyav")
    np.testing.assert_array_equal(fast.frames, slow.frames)


def test_interlaced_frames_are_whole(tmp_path):
    # OpenCV silently returns what its buffer held before.
    source = np.repeat(np.arange(20, 200, 15, dtype=np.uint8), 192 * 192 * 3).reshape(12, 192, 192, 3)
    encode(tmp_path / "a.mpg", source, "mpeg2video", flags="+ilme+ildct")
    video = decode(tmp_path / "a.mpg", num_frames=12, image_size=192)
    assert (video.decoder, video.total_frames) == ("pyav", 12)
    assert np.abs(video.frames.astype(int) - source[list(video.indices)]).max() < 5


def test_pyav_finds_the_frames_of_a_sequential_read(bikes, without_decord):
    video = decode(bikes, num_frames=16, image_size=64)
    assert (video.decoder, video.fps) == ("pyav", 25.0)
    check_sampled(video, decode_all(bikes), 16, 64)


# -- the choice between them --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.flv", "a.ts"])
def test_containers_without_an_index_rule_out_decord(name, tmp_path, with_decord, monkeypatch):
    # H.264, which decord reads in other containers.
    encode(tmp_path / name, noise(20))
    forbid_decord(monkeypatch)
    video = decode(tmp_path / name, num_frames=5, image_size=16)
    assert (video.decoder, video.total_frames, video.indices) == ("pyav", 20, tuple(sample_indices(20, 5)))


def forbid_decord(monkeypatch):
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
def test_other_codecs_rule_out_decord(tmp_path, with_decord, monkeypatch, suffix, codec, pixels):
    path = tmp_path / f"a{suffix}"
    encode(path, noise(4, 6, 9).repeat(16, 1).repeat(16, 2), codec, pixels, rate=25)
    forbid_decord(monkeypatch)
    video = decode(path, num_frames=4, image_size=16)
    assert (video.decoder, video.total_frames) == ("pyav", 4)


@pytest.mark.parametrize("how", [{"twice": "ffv1"}, {"audio": "pcm_s16le"}])
def test_another_codec_in_any_track_rules_out_decord(tmp_path, with_decord, monkeypatch, how):
    path = tmp_path / "a.mkv"
    encode(path, noise(4), **how)
    forbid_decord(monkeypatch)
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
def test_decord_reads_the_allowed_codecs(tmp_path, with_decord, name, codec):
    path = tmp_path / name
    encode(path, noise(4), codec)
    assert decode(path, num_frames=4, image_size=16).decoder == "decord"


def test_decord_reads_video_with_sound(tmp_path, with_decord):
    encode(tmp_path / "a.mp4", noise(4), audio=True)
    assert decode(tmp_path / "a.mp4", num_frames=4, image_size=16).decoder == "decord"


def test_a_decord_bridge_set_elsewhere_is_harmless(bikes, with_decord, monkeypatch):
    import decord

    plain = decode(bikes, num_frames=3, image_size=32)
    monkeypatch.setattr(decord.video_reader, "bridge_out", lambda array: array.asnumpy())
    np.testing.assert_array_equal(decode(bikes, num_frames=3, image_size=32).frames, plain.frames)
