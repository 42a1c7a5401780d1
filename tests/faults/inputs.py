"""The table of inputs: odd videos, bad videos and odd questions.

Every test of a way in (`ask`, `batch`, the server) goes through it. All videos that show anything show the same clip of
shapes, so a wrong answer means wrong frames.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from sfllava_plugin.shapes import clips
from sfllava_plugin.shapes.drawing import draw
from tests.faults import writers as w
from tests.faults.encoding import damage, lie_about_length
from tests.faults.writers import encoded

#: A clip, and a question that only the right frames, upright and in order, answer.
CLIP = clips.clip(18)
QUESTION = next(question for question in CLIP.open_ended if question.kind == "description")
#: Parts of error messages.
UNDECODABLE = "no video frame can be decoded"
NOT_A_VIDEO = "is text or audio, not a video"
MISSING = "does not exist"
NOT_IMAGE = "cannot be read as an image"


@dataclass(frozen=True)
class Input:
    """A video.

    Attributes:
        name: its file name.
        write: writes the file, given its path and the frames of the clip.
        error: expected error of `ask` and `batch`, a regular expression; None if the video is answered.
        served: expected error of the server, where it differs: it reads no folders, and words file errors differently.
        right: the answer must be the clip's.
    """

    name: str
    write: w.Writer
    error: str | None = None
    served: str | None = None
    right: bool = True


@dataclass(frozen=True)
class Asked:
    """A question about the plain clip.

    ``error`` and ``served`` are as in `Input`; without them any answer will do.
    """

    name: str
    question: str
    error: str | None = None
    options: tuple[str, ...] = ()
    max_tokens: int | None = 8
    served: str | None = None


def frames() -> np.ndarray:
    """Draw the clip: uint8 [64, 192, 192, 3]."""
    return np.stack(list(draw(CLIP.scene, [clips.moment(number) for number in range(clips.FRAMES)], clips.SIDE)))


MJPEG_AVI = {"suffix": ".avi", "codec": "mjpeg", "pixels": "yuvj420p"}


def _first_half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _claiming(length: int) -> w.Writer:
    """Return a writer of an AVI that claims this many frames."""
    return w.changed(partial(lie_about_length, claimed=length), **MJPEG_AVI)


UNEVEN_TIMES = np.cumsum(np.random.default_rng(1).integers(1, 9, clips.FRAMES)).tolist()
#: The server's error for folders.
FOLDER = "cannot be opened|is not a file"
GOOD = [
    Input("plain.mp4", encoded()),
    Input("ten-bit.mp4", encoded(pixels="yuv420p10le")),
    Input("ten-bit-hevc.mkv", encoded("libx265", "yuv420p10le")),
    Input("hevc.mp4", encoded("libx265")),
    Input("odd-size.mp4", w.resized(191, 187, pixels="yuv444p", crf=10)),
    Input("alpha.webm", encoded("libvpx-vp9", "yuva420p")),
    Input("alpha.mov", encoded("qtrle", "argb")),
    Input("vp8.webm", encoded("libvpx")),
    Input("uneven-times.mkv", encoded(times=UNEVEN_TIMES)),
    Input("uneven-times.mp4", encoded(times=UNEVEN_TIMES)),
    Input("a.gif", w.gif),
    Input("rotated.mp4", w.rotated),
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
    Input("link.mp4", w.link_to_good),
    Input("claims-more.avi", _claiming(444)),
    Input("claims-less.avi", _claiming(7)),
    Input("claims-billions.avi", _claiming(4_000_000_000)),
    Input("trailing-junk.mp4", w.changed(lambda data: data + bytes(range(256)) * 99)),
    Input("images", w.image_folder, served=FOLDER),
    Input("images-with-gaps", partial(w.image_folder, step=7), served=FOLDER),
    Input("mixed-images", w.mixed_image_folder, served=FOLDER),
]
ODD = [
    Input("transparent.gif", partial(w.gif, transparency=0, disposal=2), right=False),
    Input("one-frame.mp4", w.first_frame, right=False),
    Input("two-pixels.mkv", w.resized(2, 2, "ffv1"), right=False),
    Input("a-mile-wide.mkv", w.resized(4000, 2, "ffv1"), right=False),
    Input("picture.png", w.picture, right=False),
    Input("picture.jpg", w.picture, right=False),
    Input("cut-in-half.mp4", w.changed(_first_half, movflags="faststart"), right=False),
    Input("cut-in-half.ts", w.changed(_first_half, ".ts"), right=False),
    Input("damaged.mp4", w.changed(partial(damage, start=0.7, end=0.8), movflags="faststart"), right=False),
    Input("damaged.avi", w.changed(partial(damage, start=0.4, end=0.5), **MJPEG_AVI), right=False),
]
PICKLE = b"\x80\x04\x95\x1d\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x04true\x94\x85\x94R\x94."
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
BAD = [
    Input("missing.mp4", w.nothing, MISSING, "cannot be opened"),
    Input("plain.mp4/inside.mp4", w.nothing, MISSING, "cannot be opened"),
    Input("long" * 100 + ".mp4", w.nothing, "cannot be opened", "cannot be opened"),
    Input("empty.mp4", w.as_is(b""), "is empty"),
    Input("one-byte.mp4", w.as_is(b"\0"), UNDECODABLE),
    Input("zeros.mp4", w.as_is(bytes(100_000)), UNDECODABLE),
    Input("noise.mp4", w.as_is(np.random.default_rng(0).bytes(50_000)), UNDECODABLE),
    Input("text.mp4", w.as_is(b"not a video\n" * 50), NOT_A_VIDEO),
    Input("page.mp4", w.as_is(b"<!doctype html><html><body>404</body></html>"), NOT_A_VIDEO),
    Input("pointer.mp4", w.as_is(LFS_POINTER), NOT_A_VIDEO),
    Input("picture.svg", w.as_is(b'<svg xmlns="http://www.w3.org/2000/svg"/>'), NOT_A_VIDEO),
    Input("subtitles.srt", w.subtitles, NOT_A_VIDEO),
    Input("list.m3u8", w.playlist(b"#EXTM3U\n"), NOT_A_VIDEO),
    Input("list.mp4", w.playlist(b"#EXTM3U\n"), NOT_A_VIDEO),
    Input("tagged-list.mp4", w.playlist(b"ID3\x04\0\0\0\0\0\0#EXTM3U\n"), NOT_A_VIDEO),
    Input("concat.mp4", w.as_is(b"ffconcat version 1.0\nfile /etc/passwd\n"), NOT_A_VIDEO),
    Input("document.pdf", w.as_is(b"%PDF-1.7\n\xe2\xe3\xcf\xd3\n" + bytes(2000)), UNDECODABLE),
    Input("archive.zip", w.archive, UNDECODABLE),
    Input("program", w.as_is(b"\x7fELF\x02\x01\x01" + bytes(3000)), UNDECODABLE),
    Input("pickle.mp4", w.as_is(PICKLE), UNDECODABLE),
    Input("sound.m4a", w.sound("mp4"), UNDECODABLE),
    Input("sound.wav", w.sound("wav", "pcm_s16le"), UNDECODABLE),
    Input("header-alone.mp4", w.changed(lambda data: data[:32]), UNDECODABLE),
    Input("without-index.mp4", w.changed(lambda data: data[: data.rindex(b"moov") - 4]), UNDECODABLE),
    Input(
        "without-frame-data.mp4",
        w.changed(lambda data: data[: data.index(b"mdat") + 8], movflags="faststart"),
        UNDECODABLE,
    ),
    Input(
        "every-frame-damaged.mp4",
        w.changed(partial(damage, start=0.25, end=1), movflags="faststart"),
        UNDECODABLE,
    ),
    Input(
        "no-frame-size.avi",
        w.changed(w.without_frame_size, ".avi", codec="rawvideo", pixels="bgr24"),
        UNDECODABLE,
    ),
    Input("too-many-pixels.mkv", w.black(6400, "ffv1"), "has frames of 6400x6400"),
    Input("too-large.mp4", w.sparse(5 * 2**30), "the limit is 4294967296"),
    Input("empty-folder", w.folder, "is a folder without images", FOLDER),
    Input("broken-frame", w.folder_with(w.as_is(b"broken")), NOT_IMAGE, FOLDER),
    Input("huge-frame", w.folder_with(w.as_is(w.png_header(60_000, 60_000))), "0001.png", FOLDER),
    Input("postscript-frame", w.folder_with(w.as_is(EPS)), NOT_IMAGE, FOLDER),
    Input("pipe-frame", w.folder_with(w.pipe), "is not a file", FOLDER),
    Input("folder-frame", w.folder_with(w.folder), "is not a file", FOLDER),
    Input("folder-loop", w.folder_loop, f"{NOT_IMAGE}|is not a file", FOLDER),
    Input("loop.mp4", w.link_to_itself, "cannot be opened", "cannot be opened"),
    Input("leads-nowhere.mp4", w.link_to("nowhere"), MISSING, "cannot be opened"),
    Input("leads-out.mp4", w.link_to("/etc/passwd"), NOT_A_VIDEO, "not in a folder that this server may read"),
    Input("endless.mp4", w.link_to("/dev/zero"), "is neither a file nor a folder", "not in a folder"),
    Input("memory.mp4", w.link_to("/proc/self/mem"), "is empty|cannot be opened", "not in a folder"),
    Input("pipe.mp4", w.pipe, "is neither a file nor a folder", "is not a file"),
    Input("socket.mp4", w.listening_socket, "is neither a file nor a folder", "is not a file"),
]
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
    Asked("empty options", "which?", options=("", "")),
    Asked("one option", "which?", options=("red",)),
    Asked("options with letters", "which?", options=("A) red", "(B) blue", "C")),
    Asked("markers in options", "which?", options=("<image>", "</s>")),
]
