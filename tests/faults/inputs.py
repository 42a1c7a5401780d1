# ruff: noqa: E501
"""The table of inputs that go through every door: odd videos that are to be answered rightly, bad ones, odd questions.

Every video shows the same clip of shapes, if it shows anything, so that a wrong answer means wrong frames.
"""

import os
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from sfllava_plugin.shapes import clips
from sfllava_plugin.shapes.drawing import draw
from tests.faults import encoding
from tests.faults.encoding import encode

#: A clip and a question about it that needs the right frames in the right order and the right way up.
CLIP = clips.clip(18)
QUESTION = next(question for question in CLIP.open_ended if question.kind == "description")
#: No readable picture, or no file: what every such message begins or ends with.
UNDECODABLE = "no video frame can be decoded"
NOT_A_VIDEO = "is text or audio, not a video"
MISSING = "does not exist"


@dataclass(frozen=True)
class Input:
    """A video by the name it is written under.

    Attributes:
        write: writes it: (path, frames).
        error: what `ask` and `batch` say of it; None if it is answered.
        served: what the server says where it differs: it reads no folders, and has other words for files.
        right: whether the answer is the clip's.
    """

    name: str
    write: Callable[[Path, np.ndarray], None]
    error: str | None = None
    served: str | None = None
    right: bool = True


@dataclass(frozen=True)
class Asked:
    """A question about the plain clip; ``error`` and ``served`` as above, or None: then it is answered somehow."""

    name: str
    question: str
    error: str | None = None
    options: tuple[str, ...] = ()
    max_tokens: int | None = 8
    served: str | None = None


def frames() -> np.ndarray:
    """The clip, uint8 [64, 192, 192, 3]."""
    return np.stack(list(draw(CLIP.scene, [clips.moment(number) for number in range(clips.FRAMES)], clips.SIDE)))


def mp4(path: Path, pictures: np.ndarray) -> bytes:
    encode(path, pictures)
    return path.read_bytes()


def changed(change: Callable[[bytes], bytes], suffix: str = ".mp4", **how):
    """Writes the clip, and then what ``change`` makes of its bytes."""

    def write(path: Path, pictures: np.ndarray) -> None:
        whole = path.with_name(f"whole-{path.name}{suffix}")
        encode(whole, pictures, **how)
        path.write_bytes(change(whole.read_bytes()))
        whole.unlink()

    return write


def as_is(data: bytes):
    return lambda path, pictures: path.write_bytes(data)


def encoded(*args, **how):
    return lambda path, pictures: encode(path, pictures, *args, **how)


def resized(width: int, height: int, *args, **how):
    def write(path, pictures):
        small = [np.asarray(Image.fromarray(picture).resize((width, height))) for picture in pictures]
        encode(path, np.stack(small), *args, **how)

    return write


def turned(path: Path, pictures: np.ndarray) -> None:
    """Stored lying on its side, with the note that says so."""
    encode(path, np.rot90(pictures, 1, axes=(1, 2)))
    path.write_bytes(encoding.rotate_track(path.read_bytes()))


def first_frame(path: Path, pictures: np.ndarray) -> None:
    encode(path, pictures[:1])


def gif(path: Path, pictures: np.ndarray, **how) -> None:
    images = [Image.fromarray(picture).quantize(64) for picture in pictures]
    images[0].save(path, format="GIF", save_all=True, append_images=images[1:], duration=60, **how)


def image_folder(path: Path, pictures: np.ndarray, name: str = "{:04}.png", step: int = 1, change=None) -> None:
    path.mkdir()
    for number, picture in enumerate(pictures):
        image = Image.fromarray(picture)
        (change(number, image) if change else image).save(path / name.format(number * step))


def folder_of_all_kinds(path: Path, pictures: np.ndarray) -> None:
    """Several formats, sizes and modes, and what does not belong there."""
    path.mkdir()
    for number, picture in enumerate(pictures):
        image = Image.fromarray(picture)
        if number % 3 == 0:
            image.convert("RGBA").save(path / f"{number:04}.png")
        elif number % 3 == 1:
            image.resize((97, 131)).save(path / f"{number:04}.jpg", quality=95)
        else:
            image.save(path / f"{number:04}.webp", lossless=True)
    (path / "notes.txt").write_text("not a frame")
    (path / "._0001.png").write_bytes(b"left by a Mac")
    (path / "more").mkdir()


def folder_with(name: str, content: Callable[[Path], None]):
    """A folder of frames, one of which is something else."""

    def write(path: Path, pictures: np.ndarray) -> None:
        image_folder(path, pictures[:3])
        content(path / name)

    return write


def png_header(width: int, height: int) -> bytes:
    """A PNG of that size which holds nothing."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I4s", 9, b"IDAT")


def archive(path: Path, pictures: np.ndarray) -> None:
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("video.mp4", bytes(1000))


def link_to(target: str):
    return lambda path, pictures: path.symlink_to(target)


def link_to_good(path: Path, pictures: np.ndarray) -> None:
    encode(path.with_name("linked-to.mp4"), pictures)
    path.symlink_to("linked-to.mp4")


def loop(path: Path, pictures: np.ndarray) -> None:
    path.symlink_to(path.name)


def folder_loop(path: Path, pictures: np.ndarray) -> None:
    """A folder in which a link leads back to it, and whose one frame is a link to itself."""
    path.mkdir()
    (path / "again").symlink_to("..", target_is_directory=True)
    (path / "0000.png").symlink_to("0000.png")


def pipe(path: Path, pictures: np.ndarray | None = None) -> None:
    os.mkfifo(path)


def listening(path: Path, pictures: np.ndarray) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        # A socket's path has at most 108 characters.
        here = os.open(path.parent, os.O_RDONLY)
        bound.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)


def sparse(size: int):
    def write(path: Path, pictures: np.ndarray) -> None:
        encode(path, pictures)
        os.truncate(path, size)

    return write


def subtitles(path: Path, pictures: np.ndarray) -> None:
    path.write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n")


def playlist(head: bytes):
    return as_is(head + b"#EXTINF:9,\n/etc/passwd\n#EXT-X-ENDLIST\n")


def unsorted_times() -> list[int]:
    """Sixty-four times of frames, some close together, some far apart."""
    steps = np.random.default_rng(1).integers(1, 9, clips.FRAMES)
    return np.cumsum(steps).tolist()


FOLDER = "cannot be opened|is not a file"
GOOD = [
    Input("plain.mp4", encoded()),
    Input("ten-bit.mp4", encoded(pixels="yuv420p10le")),
    Input("ten-bit-hevc.mkv", encoded("libx265", "yuv420p10le")),
    Input("hevc.mp4", encoded("libx265")),
    Input("odd-size.mp4", resized(191, 187, pixels="yuv444p", crf=10)),
    Input("alpha.webm", encoded("libvpx-vp9", "yuva420p")),
    Input("alpha.mov", encoded("qtrle", "argb")),
    Input("vp8.webm", encoded("libvpx")),
    Input("uneven-times.mkv", encoded(times=unsorted_times())),
    Input("uneven-times.mp4", encoded(times=unsorted_times())),
    Input("a.gif", gif),
    Input("turned.mp4", turned),
    Input("b-frames.mp4", encoded(bf=3, g=30)),
    Input("one-key-frame.mp4", encoded(g=1000)),
    Input("every-frame-a-key.mp4", encoded(g=1)),
    Input("interlaced.mpg", encoded("mpeg2video", flags="+ilme+ildct")),
    Input("fragments.mp4", encoded(movflags="frag_keyframe+empty_moov")),
    Input("index-first.mp4", encoded(movflags="faststart")),
    Input("an mp4.txt", encoded(container="mp4")),
    Input("an mp4 without a suffix", encoded(container="mp4")),
    Input("an mp4.avi", encoded(container="mp4")),
    Input("stream.ts", encoded()),
    Input("flash.flv", encoded("flv1")),
    Input("lossless.mkv", encoded("ffv1")),
    Input("lossless.avi", encoded("huffyuv", "rgb24")),
    Input("raw.avi", encoded("rawvideo", "bgr24")),
    Input("motion-jpeg.avi", encoded("mjpeg", "yuvj420p")),
    Input("windows.asf", encoded("msmpeg4v3")),
    Input("av1.mp4", encoded("libsvtav1")),
    Input("prores.mov", encoded("prores_ks", "yuv422p10le")),
    Input("with-sound.mp4", encoded(audio=True)),
    Input("two-tracks.mkv", encoded(twice=True)),
    Input("thousand-a-second.mp4", encoded(rate=1000)),
    Input("two-lines\nin its name.mp4", encoded()),
    Input("-o", encoded(container="mp4")),
    Input("ünï 🎬 %41 #1?.mp4", encoded()),
    Input("concat:a|b.mp4", encoded()),
    Input("link.mp4", link_to_good),
    Input(
        "says-more.avi",
        changed(partial(encoding.lie_about_length, claimed=444), ".avi", codec="mjpeg", pixels="yuvj420p"),
    ),
    Input(
        "says-less.avi",
        changed(partial(encoding.lie_about_length, claimed=7), ".avi", codec="mjpeg", pixels="yuvj420p"),
    ),
    Input(
        "says-billions.avi",
        changed(partial(encoding.lie_about_length, claimed=4_000_000_000), ".avi", codec="mjpeg", pixels="yuvj420p"),
    ),
    Input("junk-behind.mp4", changed(lambda data: data + bytes(range(256)) * 99)),
    Input("images", image_folder, served=FOLDER),
    Input("images-with-gaps", partial(image_folder, step=7), served=FOLDER),
    Input("images-of-all-kinds", folder_of_all_kinds, served=FOLDER),
]
ODD = [
    Input("transparent.gif", partial(gif, transparency=0, disposal=2), right=False),
    Input("one-frame.mp4", first_frame, right=False),
    Input("two-pixels.mkv", resized(2, 2, "ffv1"), right=False),
    Input("a-mile-wide.mkv", resized(4000, 2, "ffv1"), right=False),
    Input("picture.png", lambda path, pictures: Image.fromarray(pictures[0]).save(path), right=False),
    Input("picture.jpg", lambda path, pictures: Image.fromarray(pictures[0]).save(path), right=False),
    Input("cut-in-half.mp4", changed(lambda data: data[: len(data) // 2], movflags="faststart"), right=False),
    Input("cut-in-half.ts", changed(lambda data: data[: len(data) // 2], ".ts"), right=False),
    Input(
        "broken-in-the-middle.mp4",
        changed(partial(encoding.damage, start=0.7, end=0.8), movflags="faststart"),
        right=False,
    ),
    Input(
        "broken-in-the-middle.avi",
        changed(partial(encoding.damage, start=0.4, end=0.5), ".avi", codec="mjpeg", pixels="yuvj420p"),
        right=False,
    ),
]
BAD = [
    Input("missing.mp4", lambda path, pictures: None, MISSING, "cannot be opened"),
    Input("plain.mp4/inside.mp4", lambda path, pictures: None, MISSING, "cannot be opened"),
    Input("long" * 100 + ".mp4", lambda path, pictures: None, "cannot be opened", "cannot be opened"),
    Input("empty.mp4", as_is(b""), "is empty"),
    Input("one-byte.mp4", as_is(b"\0"), UNDECODABLE),
    Input("zeros.mp4", as_is(bytes(100_000)), UNDECODABLE),
    Input("noise.mp4", as_is(np.random.default_rng(0).bytes(50_000)), UNDECODABLE),
    Input("text.mp4", as_is(b"not a video\n" * 50), NOT_A_VIDEO),
    Input("page.mp4", as_is(b"<!doctype html><html><body>404</body></html>"), NOT_A_VIDEO),
    Input("pointer.mp4", as_is(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"), NOT_A_VIDEO),
    Input("picture.svg", as_is(b'<svg xmlns="http://www.w3.org/2000/svg"/>'), NOT_A_VIDEO),
    Input("subtitles.srt", subtitles, NOT_A_VIDEO),
    Input("list.m3u8", playlist(b"#EXTM3U\n"), NOT_A_VIDEO),
    Input("list.mp4", playlist(b"#EXTM3U\n"), NOT_A_VIDEO),
    Input("tagged-list.mp4", playlist(b"ID3\x04\0\0\0\0\0\0#EXTM3U\n"), NOT_A_VIDEO),
    Input("concat.mp4", as_is(b"ffconcat version 1.0\nfile /etc/passwd\n"), NOT_A_VIDEO),
    Input("document.pdf", as_is(b"%PDF-1.7\n\xe2\xe3\xcf\xd3\n" + bytes(2000)), UNDECODABLE),
    Input("archive.zip", archive, UNDECODABLE),
    Input("program", as_is(b"\x7fELF\x02\x01\x01" + bytes(3000)), UNDECODABLE),
    Input("pickle.mp4", as_is(b"\x80\x04\x95\x1d\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x04true\x94\x85\x94R\x94."), UNDECODABLE),
    Input("sound.m4a", lambda path, pictures: encoding.sound_alone(path, "mp4"), UNDECODABLE),
    Input("sound.wav", lambda path, pictures: encoding.sound_alone(path, "wav", "pcm_s16le"), UNDECODABLE),
    Input("header-alone.mp4", changed(lambda data: data[:32]), UNDECODABLE),
    Input("without-index.mp4", changed(lambda data: data[: data.rindex(b"moov") - 4]), UNDECODABLE),
    Input("without-pictures.mp4", changed(lambda data: data[: data.index(b"mdat") + 8], movflags="faststart"), UNDECODABLE),
    Input("all-pictures-broken.mp4", changed(partial(encoding.damage, start=0.25, end=1), movflags="faststart"), UNDECODABLE),
    Input("no-size.avi", changed(lambda data: data.replace(struct.pack("<i", 192), bytes(4)).replace(struct.pack("<i", -192), bytes(4)), ".avi", codec="rawvideo", pixels="bgr24"), UNDECODABLE),
    Input("too-many-pixels.mkv", lambda path, pictures: encode(path, np.zeros((1, 6400, 6400, 3), np.uint8), "ffv1"), "has frames of 6400x6400"),
    Input("too-large.mp4", sparse(5 * 2**30), "the limit is 4294967296"),
    Input("empty-folder", lambda path, pictures: path.mkdir(), "is a folder without images", FOLDER),
    Input("broken-frame", folder_with("0001.png", lambda path: path.write_bytes(b"broken")), "cannot be read as an image", FOLDER),
    Input("huge-frame", folder_with("0001.png", lambda path: path.write_bytes(png_header(60_000, 60_000))), "0001.png", FOLDER),
    Input("postscript-frame", folder_with("0001.png", lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")), "cannot be read as an image", FOLDER),
    Input("pipe-frame", folder_with("0001.png", lambda path: (path.unlink(), pipe(path))), "is not a file", FOLDER),
    Input("folder-frame", folder_with("0001.png", lambda path: (path.unlink(), path.mkdir())), "is not a file", FOLDER),
    Input("folder-loop", folder_loop, "cannot be read as an image|is not a file", FOLDER),
    Input("loop.mp4", loop, "cannot be opened", "cannot be opened"),
    Input("leads-nowhere.mp4", link_to("nowhere"), MISSING, "cannot be opened"),
    Input("leads-out.mp4", link_to("/etc/passwd"), NOT_A_VIDEO, "not in a folder that this server may read"),
    Input("endless.mp4", link_to("/dev/zero"), "is neither a file nor a folder", "not in a folder"),
    Input("memory.mp4", link_to("/proc/self/mem"), "is empty|cannot be opened", "not in a folder"),
    Input("pipe.mp4", pipe, "is neither a file nor a folder", "is not a file"),
    Input("socket.mp4", listening, "is neither a file nor a folder", "is not a file"),
]  # fmt: skip
VIDEOS = GOOD + ODD + BAD

QUESTIONS = [
    Asked("nothing", ""),
    Asked("blanks", " \n\t "),
    Asked("markers", "<image> <image> </s> <s> USER: ASSISTANT:"),
    Asked("template", "{{ 7 * 7 }} {% for x in range(9) %}{{ x }}{% endfor %} {{ messages }}"),
    Asked("control characters", "\0\x01\x7f\u202e\ufeff what?"),
    Asked("emoji", "🎬🏳️‍🌈 ما هو؟ 何ですか"),
    Asked("too long", "why? " * 2000, "length|context"),
    Asked("a book", "why? " * 400_000, "length|context|characters"),
    Asked("an endless answer", "what?", max_tokens=10**6, served="max_tokens|context length"),
    Asked("no option text", "which?", options=("", "")),
    Asked("one option", "which?", options=("red",)),
    Asked("options with letters", "which?", options=("A) red", "(B) blue", "C")),
    Asked("markers in options", "which?", options=("<image>", "</s>")),
]
