"""Decoding segments with PyAV gives the frames of decoding everything."""

import numpy as np
import pytest

from sfllava_plugin.video.decode import decode
from sfllava_plugin.video.readers import pyav_segments
from sfllava_plugin.video.readers.packet_index import Packet, PacketIndex
from sfllava_plugin.video.readers.pyav_reader import PyAVReader
from tests.faults.encoding import damage, encode, rotate_track
from tests.videos import CLIPS, describe_twice, repeat, trim

COUNT = 96
UNEVEN = np.cumsum(np.random.default_rng(0).integers(1, 9, COUNT)).tolist()
OPEN = {"g": 12, "bf": 3, "x264-params": "open-gop=1:keyint=12"}
OPEN_HEVC = {"g": 12, "bf": 3, "x265-params": "open-gop=1:keyint=12:log-level=none"}

#: Videos with a key frame every dozen frames, and times that allow decoding by segments.
SOUND = {
    "plain.mp4": {"g": 12, "bf": 0},
    "b-frames.mp4": {"g": 12, "bf": 3},
    "b-frames.mkv": {"g": 12, "bf": 3},
    "every-frame-a-key.mp4": {"g": 1},
    "open.mp4": OPEN,
    "open.mkv": OPEN,
    "open.ts": OPEN,
    "open-hevc.mp4": {"codec": "libx265"} | OPEN_HEVC,
    "open-hevc.ts": {"codec": "libx265"} | OPEN_HEVC,
    "interlaced.mp4": {"g": 12, "x264-params": "tff=1"},
    "interlaced.ts": {"g": 12, "x264-params": "tff=1"},
    "fragments.mp4": {"g": 12, "bf": 3, "movflags": "frag_keyframe+empty_moov"},
    "uneven-times.mp4": {"g": 12, "bf": 3, "times": UNEVEN},
    "uneven-times.mkv": {"g": 12, "bf": 3, "times": UNEVEN},
    "thousand-a-second.mkv": {"g": 12, "rate": 1000},
    "with-sound.mp4": {"g": 12, "audio": True},
    "two-tracks.mkv": {"g": 12, "twice": True},
    "no-b-frames.avi": {"g": 12, "bf": 0},
    "vp8.webm": {"codec": "libvpx", "g": 12, "auto-alt-ref": 1, "lag-in-frames": 10},
    "vp9.webm": {"codec": "libvpx-vp9", "g": 12, "auto-alt-ref": 1, "lag-in-frames": 12},
    "av1.mp4": {"codec": "libsvtav1", "g": 12},
    "av1.webm": {"codec": "libsvtav1", "g": 12},
    "mpeg4.mp4": {"codec": "mpeg4", "g": 12, "bf": 2},
    "mpeg4.avi": {"codec": "mpeg4", "g": 12, "bf": 2},
    "mpeg2.ts": {"codec": "mpeg2video", "rate": 25, "g": 12, "bf": 2},
    "mpeg2-interlaced.ts": {"codec": "mpeg2video", "rate": 25, "g": 12, "bf": 2, "flags": "+ilme+ildct"},
    "mjpeg.mov": {"codec": "mjpeg", "pixels": "yuvj420p"},
}
#: Changes to b-frames.mp4 that leave its times consistent.
SOUND_CHANGES = {
    "trimmed at both ends": lambda mp4: trim(mp4, COUNT, 20, 60, None),
    "trimmed at its end": lambda mp4: trim(mp4, COUNT, 0, 50, None),
    "trimmed, few key frames": lambda mp4: trim(mp4, COUNT, 30, 66, [0, 24, 48]),
    "rotated": rotate_track,
}
#: Videos that cannot be decoded by segments. For some, this shows only when frames are missing.
DOUBTFUL = {
    "without-key-frames.mp4": {"g": 12, "x264-params": "intra-refresh=1:keyint=12"},
    "without-key-frames.ts": {"g": 12, "x264-params": "intra-refresh=1:keyint=12"},
    "without-times.avi": {"g": 12, "bf": 3},
    "another-codec.mkv": {"codec": "ffv1"},
    "another-container.flv": {"codec": "flv1", "g": 12},
}
DOUBTFUL_CHANGES = {
    "two descriptions": describe_twice,
    "cut": lambda mp4: mp4[: len(mp4) // 2],
    "broken": lambda mp4: damage(mp4, 0.5, 0.6),
}


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """Moving squares that grow brighter: uint8 [T, 96, 128, 3]."""
    squares = np.random.default_rng(0).integers(0, 150, (12, 16, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    return np.stack([np.roll(squares, 3 * number, 1) + np.uint8(number) for number in range(COUNT)])


def make(path, pictures, codec="libx264", pixels="yuv420p", **how):
    encode(path, pictures, codec, pixels, **how)
    return path


class Calls:
    """Counts how often a reader decodes a segment, or the whole video."""

    def __init__(self, monkeypatch, largest_share):
        self.segments = self.packets = self.whole = 0
        monkeypatch.setattr(pyav_segments, "_LARGEST_SHARE", largest_share)
        decode, decode_all = pyav_segments._decode_alone, PyAVReader._decode_all

        def decode_alone(stream, run, segment):
            self.segments += 1
            self.packets += segment.last + 1 - segment.first
            return decode(stream, run, segment)

        def decode_whole(reader, wanted):
            self.whole += 1
            return decode_all(reader, wanted)

        monkeypatch.setattr(pyav_segments, "_decode_alone", decode_alone)
        monkeypatch.setattr(PyAVReader, "_decode_all", decode_whole)


def check_same(path, monkeypatch, counts=(1, 3, 8, 50)) -> Calls:
    """Check that decoding by segments gives the frames of decoding everything."""
    for num_frames in counts:
        with monkeypatch.context() as patch:
            Calls(patch, largest_share=-1)
            expected = decode(path, num_frames=num_frames, image_size=64)
        with monkeypatch.context() as patch:
            calls = Calls(patch, largest_share=99)
            found = decode(path, num_frames=num_frames, image_size=64)
        assert (found.total_frames, found.indices) == (expected.total_frames, expected.indices)
        np.testing.assert_array_equal(found.frames, expected.frames)
    return calls


@pytest.mark.parametrize("name", SOUND)
def test_segments_give_the_frames_of_the_whole_video(name, pictures, tmp_path, monkeypatch, without_decord):
    calls = check_same(make(tmp_path / name, pictures, **SOUND[name]), monkeypatch)
    assert calls.segments and not calls.whole


@pytest.mark.parametrize("change", SOUND_CHANGES)
def test_segments_of_changed_videos(change, pictures, tmp_path, monkeypatch, without_decord):
    path = make(tmp_path / "a.mp4", pictures, **SOUND["b-frames.mp4"])
    path.write_bytes(SOUND_CHANGES[change](path.read_bytes()))
    calls = check_same(path, monkeypatch)
    assert calls.segments and not calls.whole


@pytest.mark.parametrize("name", ["bikes", "bigbuckbunny", "carphone_pristine", "carphone_distorted"])
def test_segments_of_real_clips(name, monkeypatch, without_decord):
    calls = check_same(CLIPS / f"{name}.mp4", monkeypatch)
    assert calls.segments and not calls.whole


@pytest.mark.parametrize("name", DOUBTFUL)
def test_doubtful_videos_are_decoded_whole(name, pictures, tmp_path, monkeypatch, without_decord):
    assert check_same(make(tmp_path / name, pictures, **DOUBTFUL[name]), monkeypatch, [8]).whole


@pytest.mark.parametrize("change", DOUBTFUL_CHANGES)
def test_doubtful_changes_make_the_reader_decode_the_whole_video(
    change, pictures, tmp_path, monkeypatch, without_decord
):
    path = make(tmp_path / "a.mp4", pictures, movflags="faststart", **SOUND["plain.mp4"])
    path.write_bytes(DOUBTFUL_CHANGES[change](path.read_bytes()))
    assert check_same(path, monkeypatch, [8]).whole


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libsvtav1")])
def test_little_of_a_long_video_is_decoded(name, codec, pictures, tmp_path, monkeypatch, without_decord):
    once = make(tmp_path / f"once-{name}", pictures, codec, g=12, rate=25)
    long = tmp_path / name
    repeat(once, long, 80)  # five minutes
    calls = Calls(monkeypatch, pyav_segments._LARGEST_SHARE)
    video = decode(long, num_frames=50, image_size=64)
    assert (video.decoder, video.total_frames) == ("pyav", 80 * COUNT)
    assert not calls.whole and calls.packets < 52 * 20
    whole = decode(once, num_frames=COUNT, image_size=64)
    shown = dict(zip(whole.indices, whole.frames, strict=True))
    for index, frame in zip(video.indices, video.frames, strict=True):
        if index % COUNT in shown:
            np.testing.assert_array_equal(frame, shown[index % COUNT])


def test_a_wrong_count_is_corrected_without_decoding(pictures, tmp_path, monkeypatch, without_decord):
    path = make(tmp_path / "a.mkv", pictures, g=12, rate=25, times=UNEVEN)
    claimed = PyAVReader(str(path)).count
    calls = Calls(monkeypatch, largest_share=99)
    assert decode(path, num_frames=8, image_size=16).total_frames == COUNT != claimed
    assert calls.packets <= COUNT


# -- the index ----------------------------------------------------------------------------------


def index(*packets: str) -> PacketIndex:
    """Build an index of packets such as "K3".

    "K" is a key frame and "-" another; "k" and "." are the same, but not shown. The number is the time.
    """
    return PacketIndex(Packet(int(one[1:]), one[0] in "Kk", one[0] in "K-") for one in packets)


def runs(packet_index: PacketIndex, *wanted: int):
    return [(one.first, one.last, one.start, one.wanted) for one in packet_index.segments(wanted)]


def test_a_segment_runs_from_a_key_frame_to_the_last_packet_needed():
    # Packets lie in decoding order: 0 3 1 2 | 4 7 5 6.
    found = index("K0", "-3", "-1", "-2", "K4", "-7", "-5", "-6")
    assert len(found) == 8
    assert runs(found, 2) == [(0, 3, 0, (2,))]
    assert runs(found, 5) == [(4, 6, 4, (5,))]
    assert runs(found, 0, 6) == [(0, 0, 0, (0,)), (4, 7, 4, (6,))]
    assert runs(found, 2, 6) == [(0, 7, 0, (2, 6))]


def test_frames_shown_before_their_preceding_key_frame_belong_to_the_one_before():
    found = index("K0", "-1", "K4", "-2", "-3", "-5")
    assert runs(found, 3) == [(0, 4, 0, (3,))]
    # A decoder returns it only after the frames shown before it.
    assert runs(found, 4) == [(2, 4, 4, (4,))]
    assert runs(found, 5) == [(2, 5, 4, (5,))]


def test_hidden_packets_have_no_frame_number():
    found = index("k0", ".1", "-2", "-3", "K4", ".5")
    assert len(found) == 3
    assert runs(found, 0, 2) == [(0, 2, 0, (0,)), (4, 4, 2, (2,))]


@pytest.mark.parametrize(
    "packets",
    [
        (),
        ("k0", ".1"),
        ("-0", "K1"),
        ("K0", "-1", "-1"),
        ("K1", "-0", "-2"),
        ("K0", "K2", "K1"),
        ("K0", "-5", "K3", "-4"),
    ],
)
def test_doubtful_packets_are_not_indexed(packets):
    with pytest.raises(ValueError, match=r"key frame|times"):
        index(*packets)
