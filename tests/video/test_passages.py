"""PyAV in long videos: only some passages are decoded, and the frames are those of decoding everything."""

import numpy as np
import pytest

from sfllava_plugin.video.decode import decode
from sfllava_plugin.video.readers import pyav_passages
from sfllava_plugin.video.readers.packet_index import Packet, PacketIndex
from sfllava_plugin.video.readers.pyav_reader import PyAVReader
from tests.faults.encoding import damage, encode, rotate_track
from tests.videos import CLIPS, describe_twice, repeat, trim

COUNT = 96
UNEVEN = np.cumsum(np.random.default_rng(0).integers(1, 9, COUNT)).tolist()
OPEN = {"g": 12, "bf": 3, "x264-params": "open-gop=1:keyint=12"}
OPEN_HEVC = {"g": 12, "bf": 3, "x265-params": "open-gop=1:keyint=12:log-level=none"}

#: Videos of a key frame a dozen frames, whose frames can be found by key frame.
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
#: Changes to the bytes of b-frames.mp4 that leave its times in order.
SOUND_CHANGES = {
    "trimmed at both ends": lambda mp4: trim(mp4, COUNT, 20, 60, None),
    "trimmed at its end": lambda mp4: trim(mp4, COUNT, 0, 50, None),
    "trimmed, few key frames": lambda mp4: trim(mp4, COUNT, 30, 66, [0, 24, 48]),
    "turned": rotate_track,
}
#: Videos that leave doubt, at the latest when some frames do not come.
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
    """Squares that move, each frame a little brighter: uint8 [T, 96, 128, 3]."""
    squares = np.random.default_rng(0).integers(0, 150, (12, 16, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    return np.stack([np.roll(squares, 3 * number, 1) + np.uint8(number) for number in range(COUNT)])


def make(path, pictures, codec="libx264", pixels="yuv420p", **how):
    encode(path, pictures, codec, pixels, **how)
    return path


class Ways:
    """How often a reader decoded passages, or everything."""

    def __init__(self, monkeypatch, largest_share):
        self.passages = self.packets = self.walks = 0
        monkeypatch.setattr(pyav_passages, "_LARGEST_SHARE", largest_share)
        decode, walk = pyav_passages._decode_alone, PyAVReader._walk

        def decode_alone(stream, run, passage):
            self.passages += 1
            self.packets += passage.last + 1 - passage.first
            return decode(stream, run, passage)

        def count_walk(reader, wanted):
            self.walks += 1
            return walk(reader, wanted)

        monkeypatch.setattr(pyav_passages, "_decode_alone", decode_alone)
        monkeypatch.setattr(PyAVReader, "_walk", count_walk)


def check_same(path, monkeypatch, counts=(1, 3, 8, 50)) -> Ways:
    """Whatever is read by passages, if it can, is what decoding everything gives."""
    for num_frames in counts:
        with monkeypatch.context() as patch:
            Ways(patch, largest_share=-1)
            expected = decode(path, num_frames=num_frames, image_size=64)
        with monkeypatch.context() as patch:
            ways = Ways(patch, largest_share=99)
            found = decode(path, num_frames=num_frames, image_size=64)
        assert (found.total_frames, found.indices) == (expected.total_frames, expected.indices)
        np.testing.assert_array_equal(found.frames, expected.frames)
    return ways


@pytest.mark.parametrize("name", SOUND)
def test_passages_show_what_the_whole_video_shows(name, pictures, tmp_path, monkeypatch, without_decord):
    ways = check_same(make(tmp_path / name, pictures, **SOUND[name]), monkeypatch)
    assert ways.passages and not ways.walks


@pytest.mark.parametrize("change", SOUND_CHANGES)
def test_passages_of_changed_videos(change, pictures, tmp_path, monkeypatch, without_decord):
    path = make(tmp_path / "a.mp4", pictures, **SOUND["b-frames.mp4"])
    path.write_bytes(SOUND_CHANGES[change](path.read_bytes()))
    ways = check_same(path, monkeypatch)
    assert ways.passages and not ways.walks


@pytest.mark.parametrize("name", ["bikes", "bigbuckbunny", "carphone_pristine", "carphone_distorted"])
def test_passages_of_real_clips(name, monkeypatch, without_decord):
    ways = check_same(CLIPS / f"{name}.mp4", monkeypatch)
    assert ways.passages and not ways.walks


@pytest.mark.parametrize("name", DOUBTFUL)
def test_in_doubt_everything_is_decoded(name, pictures, tmp_path, monkeypatch, without_decord):
    assert check_same(make(tmp_path / name, pictures, **DOUBTFUL[name]), monkeypatch, [8]).walks


@pytest.mark.parametrize("change", DOUBTFUL_CHANGES)
def test_in_doubt_everything_of_a_changed_video_is_decoded(change, pictures, tmp_path, monkeypatch, without_decord):
    path = make(tmp_path / "a.mp4", pictures, movflags="faststart", **SOUND["plain.mp4"])
    path.write_bytes(DOUBTFUL_CHANGES[change](path.read_bytes()))
    assert check_same(path, monkeypatch, [8]).walks


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libsvtav1")])
def test_of_a_long_video_little_is_decoded(name, codec, pictures, tmp_path, monkeypatch, without_decord):
    once = make(tmp_path / f"once-{name}", pictures, codec, g=12, rate=25)
    long = tmp_path / name
    repeat(once, long, 80)  # five minutes
    ways = Ways(monkeypatch, pyav_passages._LARGEST_SHARE)
    video = decode(long, num_frames=50, image_size=64)
    assert (video.decoder, video.total_frames) == ("pyav", 80 * COUNT)
    assert not ways.walks and ways.packets < 52 * 20
    whole = decode(once, num_frames=COUNT, image_size=64)
    shown = dict(zip(whole.indices, whole.frames, strict=True))
    for index, frame in zip(video.indices, video.frames, strict=True):
        if index % COUNT in shown:
            np.testing.assert_array_equal(frame, shown[index % COUNT])


def test_a_count_that_is_wrong_costs_no_decoding(pictures, tmp_path, monkeypatch, without_decord):
    path = make(tmp_path / "a.mkv", pictures, g=12, rate=25, times=UNEVEN)
    claimed = PyAVReader(str(path)).count
    ways = Ways(monkeypatch, largest_share=99)
    assert decode(path, num_frames=8, image_size=16).total_frames == COUNT != claimed
    assert ways.packets <= COUNT


# -- the index ----------------------------------------------------------------------------------


def index(*packets: str) -> PacketIndex:
    """An index of packets like "K3": a key frame shown at 3; "-" one that is none; "k" and "." they are not shown."""
    return PacketIndex(Packet(int(one[1:]), one[0] in "Kk", one[0] in "K-") for one in packets)


def runs(packet_index: PacketIndex, *wanted: int):
    return [(one.first, one.last, one.start, one.wanted) for one in packet_index.passages(wanted)]


def test_a_passage_goes_from_a_key_frame_to_what_the_frame_needs():
    # The order in the file is that of decoding: 0 3 1 2 | 4 7 5 6.
    found = index("K0", "-3", "-1", "-2", "K4", "-7", "-5", "-6")
    assert len(found) == 8
    assert runs(found, 2) == [(0, 3, 0, (2,))]
    assert runs(found, 5) == [(4, 6, 4, (5,))]
    assert runs(found, 0, 6) == [(0, 0, 0, (0,)), (4, 7, 4, (6,))]
    assert runs(found, 2, 6) == [(0, 7, 0, (2, 6))]


def test_frames_shown_before_a_key_frame_that_is_decoded_first_belong_to_the_one_before():
    found = index("K0", "-1", "K4", "-2", "-3", "-5")
    assert runs(found, 3) == [(0, 4, 0, (3,))]
    # A decoder gives it only after those shown before it.
    assert runs(found, 4) == [(2, 4, 4, (4,))]
    assert runs(found, 5) == [(2, 5, 4, (5,))]


def test_packets_that_are_not_shown_have_no_number():
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
def test_doubtful_packets_have_no_index(packets):
    with pytest.raises(ValueError, match=r"key frame|times"):
        index(*packets)
