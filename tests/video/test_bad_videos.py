"""Videos with wrong headers, and files that are not videos."""

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from sfllava_plugin.limits import Limits
from sfllava_plugin.video import isolated
from sfllava_plugin.video.decode import decode
from sfllava_plugin.video.errors import VideoError
from sfllava_plugin.video.readers import decord_reader, pyav_reader
from sfllava_plugin.video.sampling import sample_indices
from tests.videos import (
    CLIPS,
    check_sampled,
    decode_all,
    decode_whole_packets,
    lie_about_avi_length,
    moov_to_front,
    pil_squares,
    read_any,
    trim,
    write_avi,
)

# -- wrong frame counts -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory) -> bytes:
    """900 frames of 64x48 as mp4."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, (64, 48))
    assert writer.isOpened()
    for i in range(900):
        writer.write(np.full((48, 64, 3), i % 256, np.uint8))
    writer.release()
    return path.read_bytes()


@pytest.mark.parametrize("decord_missing", [False, True])
def test_a_cut_mp4_is_sampled_from_the_frames_that_decode(bikes, tmp_path, monkeypatch, decord_missing):
    if decord_missing:
        monkeypatch.setattr(decord_reader, "_decord", lambda: None)
    whole = moov_to_front(bikes.read_bytes())
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole[: len(whole) // 2])
    left = decode_whole_packets(path)
    assert 50 < len(left) < 200
    check_sampled(decode(path, num_frames=8, image_size=32), left, 8, 32)


def test_moving_the_index_to_the_front_changes_no_frame(bikes):
    # The test above also moves the index, which must be harmless for it to test the cut alone.
    moved = isolated.read_video(moov_to_front(bikes.read_bytes()), num_frames=8, image_size=32)
    original = decode(bikes, num_frames=8, image_size=32)
    assert moved.total_frames == 250
    np.testing.assert_array_equal(moved.frames, original.frames)


@pytest.mark.parametrize("claimed", [444, 7, 0, 4_000_000_000])
@pytest.mark.parametrize("decord_missing", [False, True])
def test_an_avi_header_with_a_wrong_frame_count(tmp_path, monkeypatch, claimed, decord_missing):
    if decord_missing:
        monkeypatch.setattr(decord_reader, "_decord", lambda: None)
    path = write_avi(tmp_path / "lie.avi", 30)
    lie_about_avi_length(path, claimed)
    if claimed == 444:
        assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT) == claimed
    video = decode(path, num_frames=10, image_size=16)
    assert video.total_frames == 30
    assert video.indices == tuple(sample_indices(30, 10))
    np.testing.assert_allclose(video.frames.mean((1, 2, 3)), 8 * np.array(video.indices) % 256, atol=2)


def test_a_cut_avi(tmp_path):
    path = write_avi(tmp_path / "cut.avi", 30)
    data = path.read_bytes()
    frame_16 = data.index(b"movi")
    for _ in range(17):
        frame_16 = data.index(b"00dc", frame_16 + 4)
    path.write_bytes(data[: frame_16 + 100])
    left = decode_all(path)
    assert len(left) in (16, 17)
    for source in (path, path.read_bytes()):  # decord kills the process when given these bytes
        video = read_any(source, num_frames=10, image_size=16)
        assert video.indices == tuple(sample_indices(len(left), 10))
        np.testing.assert_allclose(video.frames.mean((1, 2, 3)), 8 * np.array(video.indices), atol=2)


@pytest.mark.parametrize(
    ("clip", "first", "count", "keys"),
    [
        ("bikes", 0, 60, [0]),
        ("bikes", 0, 249, [0]),
        ("bikes", 190, 60, [0]),
        ("bikes", 20, 230, None),
        ("long", 0, 16, [0]),
        ("long", 0, 60, [0]),
        ("long", 0, 300, [0, 240, 480]),
        ("long", 0, 500, [0, 480]),
    ],
)
def test_trimmed_mp4s_that_decord_misreads_or_never_finishes(bikes, long_clip, tmp_path, clip, first, count, keys):
    whole, total = (bikes.read_bytes(), 250) if clip == "bikes" else (long_clip, 900)
    path = tmp_path / "trimmed.mp4"
    path.write_bytes(trim(whole, total, first, count, keys))
    shown = decode_all(path)
    assert len(shown) == count
    # In another process, because an endless native loop can only be ended from outside.
    script = """if True:
        import sys, numpy
        from sfllava_plugin.video.decode import decode
        for wanted in (1, 3, 50):
            v = decode(sys.argv[1], num_frames=wanted, image_size=32)
            found = dict(frames=v.frames, indices=v.indices, total=v.total_frames)
            numpy.savez(f"{sys.argv[2]}/{wanted}.npz", **found)
    """
    command = [sys.executable, "-c", script, str(path), str(tmp_path)]
    subprocess.run(command, check=True, timeout=60, cwd=Path(__file__).parents[2])
    for wanted in (1, 3, 50):
        with np.load(tmp_path / f"{wanted}.npz") as found:
            indices = sample_indices(count, wanted)
            assert found["total"] == count and found["indices"].tolist() == indices
            expected = pil_squares([shown[i] for i in indices], 32)
            np.testing.assert_array_equal(found["frames"], expected)


# -- unreadable sources -------------------------------------------------------------------------


def check_error(source, *words, num_frames=8, image_size=16, **limits):
    with pytest.raises(VideoError) as caught:
        read_any(source, num_frames=num_frames, image_size=image_size, **limits)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 300
    assert not any(trace in message for trace in ("/github/", "Check failed", "DECORD", " 0x"))
    for word in words:
        assert word in message


def test_a_missing_file(tmp_path):
    check_error(tmp_path / "none.mp4", str(tmp_path / "none.mp4"), "does not exist")
    check_error("", "does not exist")


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    check_error(tmp_path / "pipe.mp4", "pipe.mp4", "give a video file")


def test_an_empty_file(tmp_path):
    (tmp_path / "empty.mp4").touch()
    check_error(tmp_path / "empty.mp4", "empty.mp4 is empty")
    check_error(b"", "the video is empty")


def test_a_text_file(tmp_path):
    (tmp_path / "text.mp4").write_text("<html>404 not found</html>\n" * 100)
    check_error(tmp_path / "text.mp4", "text.mp4", "not a video")


def test_garbage(tmp_path, capfd):
    garbage = np.random.default_rng(0).bytes(50_000)
    (tmp_path / "garbage.mp4").write_bytes(garbage)
    check_error(tmp_path / "garbage.mp4", "garbage.mp4", "no video frame can be decoded")
    check_error(garbage, "the video: no video frame can be decoded")
    assert capfd.readouterr().err == ""


def test_an_mp4_cut_before_its_index(bikes, tmp_path, capfd):
    data = bikes.read_bytes()[:100_000]
    (tmp_path / "cut.mp4").write_bytes(data)
    check_error(tmp_path / "cut.mp4", "cut.mp4: no video frame can be decoded", "convert it")
    check_error(data, "the video: no video frame")
    assert capfd.readouterr().err == ""


def test_audio_only(tmp_path):
    # A WAV file with one second of silence.
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16)
    body = b"WAVE" + form + struct.pack("<4sI", b"data", 16000) + bytes(16000)
    (tmp_path / "sound.wav").write_bytes(struct.pack("<4sI", b"RIFF", len(body)) + body)
    check_error(tmp_path / "sound.wav", "sound.wav: no video frame can be decoded")


def test_an_index_without_frame_data(bikes, tmp_path):
    whole = moov_to_front(bikes.read_bytes())
    (tmp_path / "head.mp4").write_bytes(whole[: whole.index(b"mdat") + 10])
    check_error(tmp_path / "head.mp4", "head.mp4: no video frame can be decoded")


@pytest.mark.parametrize("before", [b"", b"\n", b"\xef\xbb\xbf", b"ID3\x04\x00\x00\x00\x00\x00\x00"])
def test_playlists_are_refused(tmp_path, before):
    entry = str(CLIPS / "carphone_distorted.mp4").encode()
    head = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n"
    for name in ("list.mp4", "list.m3u8"):
        (tmp_path / name).write_bytes(before + head + entry + b"\n#EXT-X-ENDLIST\n")
        check_error(tmp_path / name, name, "not a video")
    check_error(b"#EXTM3U\n#\x01" + head + entry, "the video is text", "not a video")


def test_a_folder_without_images(tmp_path):
    (tmp_path / "notes.txt").write_text("no frame")
    check_error(tmp_path, str(tmp_path), "folder without images")


@pytest.mark.parametrize("wanted", [0, -1, 1025])
def test_a_number_of_frames_out_of_range(bikes, wanted):
    check_error(bikes, "bikes.mp4", "1 to 1024", num_frames=wanted)


def test_the_most_frames_that_may_be_requested(tmp_path):
    video = decode(write_avi(tmp_path / "a.avi", 3), num_frames=1024, image_size=4)
    assert len(video.frames) == 3


def test_an_image_size_of_zero(bikes):
    check_error(bikes, "bikes.mp4", "1 or more", image_size=0)


def test_the_pixel_limit_allows_8k():
    assert 7680 * 4320 <= Limits().pixels < 8192 * 8192


def test_frames_over_the_pixel_limit(bikes, monkeypatch):
    just, less = Limits(pixels=640 * 272), Limits(pixels=640 * 272 - 1)
    assert decode(bikes, num_frames=1, image_size=8, limits=just).frames.shape == (1, 8, 8, 3)
    check_error(bikes.read_bytes(), "the video has frames of 640x272", limits=less)

    def decoded(*_):
        raise AssertionError("decoded before the size was checked")

    monkeypatch.setattr(pyav_reader.PyAVReader, "frames", decoded)
    monkeypatch.setattr(decord_reader.DecordReader, "__init__", decoded)
    check_error(bikes, "bikes.mp4", "640x272", "smaller", limits=less)


def test_a_video_over_the_duration_limit(bikes):
    allowed = Limits(duration_seconds=10)
    assert decode(bikes, num_frames=1, image_size=8, limits=allowed).total_frames == 250
    check_error(bikes, "bikes.mp4 lasts 10 seconds", "a shorter part of it", limits=Limits(duration_seconds=9.5))


def test_a_file_over_the_size_limit(bikes):
    size = bikes.stat().st_size
    assert decode(bikes, num_frames=1, image_size=8, limits=Limits(file_bytes=size)).total_frames == 250
    for source, name in ((bikes, "bikes.mp4"), (bikes.read_bytes(), "the video")):
        check_error(source, f"{name} has {size} bytes, the limit is {size - 1}", limits=Limits(file_bytes=size - 1))


def test_an_image_over_the_pixel_limit(tmp_path):
    # A PNG without data: decoding it would fail with another error.
    head = b"IHDR" + struct.pack(">IIBBBBB", 6000, 6000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    (tmp_path / "big.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I4s", 9, b"IDAT"))
    check_error(tmp_path, "big.png has frames of 6000x6000")


def test_names_stay_on_one_line(tmp_path):
    check_error(tmp_path / "two\nlines.mp4", "two\\nlines.mp4", "does not exist")


def test_an_unreadable_file(tmp_path, monkeypatch):
    path = write_avi(tmp_path / "locked.avi", 2)

    def denied(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", denied)  # not chmod: root may read every file
    check_error(path, "locked.avi", "Permission denied")
