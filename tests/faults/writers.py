"""Write the files of the table of inputs.

A writer takes a path and the frames of the clip.
"""

import os
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.faults import encoding
from tests.faults.encoding import encode

Writer = Callable[[Path, np.ndarray], None]

# -- videos -------------------------------------------------------------------------------------


def encoded(*args, **how) -> Writer:
    return lambda path, pictures: encode(path, pictures, *args, **how)


def resized(width: int, height: int, *args, **how) -> Writer:
    def write(path, pictures):
        small = [np.asarray(Image.fromarray(picture).resize((width, height))) for picture in pictures]
        encode(path, np.stack(small), *args, **how)

    return write


def changed(change: Callable[[bytes], bytes], suffix: str = ".mp4", **how) -> Writer:
    """Encode the clip, then ``change`` the bytes of the file."""

    def write(path: Path, pictures: np.ndarray) -> None:
        whole = path.with_name(f"whole-{path.name}{suffix}")
        encode(whole, pictures, **how)
        path.write_bytes(change(whole.read_bytes()))
        whole.unlink()

    return write


def rotated(path: Path, pictures: np.ndarray) -> None:
    """Store the frames on their side, with metadata to turn them upright."""
    encode(path, np.rot90(pictures, 1, axes=(1, 2)))
    path.write_bytes(encoding.rotate_track(path.read_bytes()))


def first_frame(path: Path, pictures: np.ndarray) -> None:
    encode(path, pictures[:1])


def black(side: int, codec: str) -> Writer:
    """Encode one black frame of side x side."""
    return lambda path, pictures: encode(path, np.zeros((1, side, side, 3), np.uint8), codec)


def gif(path: Path, pictures: np.ndarray, **how) -> None:
    images = [Image.fromarray(picture).quantize(64) for picture in pictures]
    images[0].save(path, format="GIF", save_all=True, append_images=images[1:], duration=60, **how)


def sparse(size: int) -> Writer:
    """Encode the clip, and extend the file sparsely to ``size`` bytes."""

    def write(path: Path, pictures: np.ndarray) -> None:
        encode(path, pictures)
        os.truncate(path, size)

    return write


def without_frame_size(avi: bytes) -> bytes:
    """Set the sides of 192 pixels in an AVI's headers to 0."""
    return avi.replace(struct.pack("<i", 192), bytes(4)).replace(struct.pack("<i", -192), bytes(4))


# -- images and folders of them -----------------------------------------------------------------


def picture(path: Path, pictures: np.ndarray) -> None:
    Image.fromarray(pictures[0]).save(path)


def png_header(width: int, height: int) -> bytes:
    """Return a PNG of this size without any pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I4s", 9, b"IDAT")


def image_folder(path: Path, pictures: np.ndarray, step: int = 1) -> None:
    """Write one PNG per frame, numbered in steps of ``step``."""
    path.mkdir()
    for number, frame in enumerate(pictures):
        Image.fromarray(frame).save(path / f"{number * step:04}.png")


def mixed_image_folder(path: Path, pictures: np.ndarray) -> None:
    """Write frames of several formats, sizes and modes, and other files."""
    path.mkdir()
    for number, frame in enumerate(pictures):
        image = Image.fromarray(frame)
        if number % 3 == 0:
            image.convert("RGBA").save(path / f"{number:04}.png")
        elif number % 3 == 1:
            image.resize((97, 131)).save(path / f"{number:04}.jpg", quality=95)
        else:
            image.save(path / f"{number:04}.webp", lossless=True)
    (path / "notes.txt").write_text("not a frame")
    (path / "._0001.png").write_bytes(b"left by a Mac")
    (path / "more").mkdir()


def folder_with(write_frame: Writer) -> Writer:
    """Write a folder of three frames, the second one (0001.png) by ``write_frame``."""

    def write(path: Path, pictures: np.ndarray) -> None:
        image_folder(path, pictures[:3])
        second = path / "0001.png"
        second.unlink()
        write_frame(second, pictures)

    return write


def folder_loop(path: Path, pictures: np.ndarray) -> None:
    """Make a folder with links to its parent and to themselves."""
    path.mkdir()
    (path / "again").symlink_to("..", target_is_directory=True)
    (path / "0000.png").symlink_to("0000.png")


# -- other files, and no files ------------------------------------------------------------------


def nothing(path: Path, pictures: np.ndarray) -> None:
    """Write no file."""


def as_is(data: bytes) -> Writer:
    return lambda path, pictures: path.write_bytes(data)


def sound(container: str, codec: str = "aac") -> Writer:
    return lambda path, pictures: encoding.sound_alone(path, container, codec)


def archive(path: Path, pictures: np.ndarray) -> None:
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("video.mp4", bytes(1000))


def subtitles(path: Path, pictures: np.ndarray) -> None:
    path.write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n")


def playlist(head: bytes) -> Writer:
    return as_is(head + b"#EXTINF:9,\n/etc/passwd\n#EXT-X-ENDLIST\n")


def folder(path: Path, pictures: np.ndarray) -> None:
    path.mkdir()


def link_to(target: str) -> Writer:
    return lambda path, pictures: path.symlink_to(target)


def link_to_good(path: Path, pictures: np.ndarray) -> None:
    encode(path.with_name("linked-to.mp4"), pictures)
    path.symlink_to("linked-to.mp4")


def link_to_itself(path: Path, pictures: np.ndarray) -> None:
    path.symlink_to(path.name)


def pipe(path: Path, pictures: np.ndarray) -> None:
    os.mkfifo(path)


def listening_socket(path: Path, pictures: np.ndarray) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        # The path of a socket has at most 108 characters, so go through the folder's descriptor.
        here = os.open(path.parent, os.O_RDONLY)
        bound.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)
