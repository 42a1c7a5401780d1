"""Encode frames in any codec and container, and damage the result."""

import os
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE = 16

# Keeps the encoders off stderr.
os.environ.setdefault("SVT_LOG", "0")
_SILENT = {"libx265": {"x265-params": "log-level=none"}}


def encode(path: Path, frames: np.ndarray, codec: str = "libx264", pixels: str = "yuv420p", **how) -> None:
    """Write ``frames``, uint8 [T, H, W, 3].

    Args:
        how: options of the codec, and these: ``container`` (by default that of the suffix) and its ``movflags``;
            ``rate`` in frames per second; ``times`` of the frames in units of 1 / ``rate``; ``audio`` (True or a codec:
            a silent track before the video); ``twice`` (True or a codec: a second, black video track); ``matrix`` (of
            the colours, in FFmpeg's numbers).
    """
    container, movflags = how.pop("container", None), how.pop("movflags", None)
    times, audio, twice = how.pop("times", None), how.pop("audio", False), how.pop("twice", False)
    rate = how.pop("rate", RATE)
    options = {"movflags": movflags} if movflags else {}
    with av.open(str(path), "w", format=container, options=options) as out:
        sound = out.add_stream("aac" if audio is True else audio, rate=8000) if audio else None
        tracks = [codec, codec if twice is True else twice] if twice else [codec]
        streams = [_stream(out, track, pixels, frames, rate, dict(how)) for track in tracks]
        if sound:
            _silence(out, sound, len(frames) / rate)
        for number, picture in enumerate(frames):
            for stream, shown in zip(streams, (picture, np.zeros_like(picture)), strict=False):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(shown), format="rgb24")
                frame.pts = times[number] if times else number
                frame.time_base = Fraction(1, rate)
                out.mux(stream.encode(frame))
        for stream in streams:
            out.mux(stream.encode())


def _stream(out, codec, pixels, frames, rate, options):
    matrix = options.pop("matrix", None)
    options = _SILENT.get(codec, {}) | {key: str(value) for key, value in options.items()}
    stream = out.add_stream(codec, rate=rate, options=options)
    stream.height, stream.width = frames.shape[1:3]
    stream.pix_fmt = pixels
    if matrix:
        stream.codec_context.colorspace = matrix
    if codec in ("mpeg2video", "mpeg4", "msmpeg4v3", "mjpeg", "libvpx", "libvpx-vp9"):
        stream.bit_rate = 4_000_000
    return stream


def _silence(out, stream, seconds: float) -> None:
    for start in range(0, int(8000 * seconds), 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 8000, start, Fraction(1, 8000)
        out.mux(stream.encode(frame))
    out.mux(stream.encode())


def sound_alone(path: Path, container: str | None = None, codec: str = "aac") -> None:
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=8000)
        stream.layout = "mono"
        for start in range(0, 8000, 1024):
            kind, data = ("s16", np.zeros((1, 1024), np.int16)) if "pcm" in codec else ("fltp", None)
            data = np.zeros((1, 1024), np.float32) if data is None else data
            frame = av.AudioFrame.from_ndarray(data, format=kind, layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 8000, start, Fraction(1, 8000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


def rotate_track(mp4: bytes, quarters: int = 1) -> bytes:
    """Make players rotate an MP4 clockwise by this many right angles."""
    data = bytearray(mp4)
    header = data.index(b"tkhd")
    matrix = header + 4 + (40 if data[header + 4] == 0 else 52)
    cosine, sine = ((1, 0), (0, 1), (-1, 0), (0, -1))[quarters]
    one = 1 << 16
    struct.pack_into(">9i", data, matrix, cosine * one, sine * one, 0, -sine * one, cosine * one, 0, 0, 0, 1 << 30)
    return bytes(data)


def damage(data: bytes, start: float, end: float, seed: int = 0) -> bytes:
    """Randomise the bytes from ``start`` to ``end``, both fractions of the length."""
    low, high = int(len(data) * start), int(len(data) * end)
    noise = np.random.default_rng(seed).bytes(high - low)
    return data[:low] + noise + data[high:]


def lie_about_length(avi: bytes, claimed: int) -> bytes:
    """Change the number of frames in an AVI's headers."""
    data = bytearray(avi)
    struct.pack_into("<I", data, data.index(b"avih") + 8 + 16, claimed)
    struct.pack_into("<I", data, data.index(b"strh") + 8 + 32, claimed)
    return bytes(data)
