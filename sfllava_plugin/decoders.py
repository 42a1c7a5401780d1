"""What the two decoders of video files share: their errors, and which files they are shown.

Knows that decoders lie and fail: frame counts that are wrong, loops that never end, text that makes FFmpeg open
other files. They are native code, and can still hang or kill the process on a video made for it: decoding.py lets
them work in another process. Does not know which frames are wanted or why, how they are resized, folders of images,
or anything about models.

Both readers (decord_reader.py, pyav_reader.py) have the same face: `name`, `count` (frames, as claimed), `fps`, and
`frames(wanted)`, a generator over RGB uint8 arrays [H, W, 3]. A reader that cannot deliver raises DecodeError; one
that finds itself wrong about the video raises Miscount.
"""

import math

# What opens a playlist, or the ID3 tag of audio, behind which FFmpeg looks for a playlist too.
_NOT_A_VIDEO = (b"#EXTM3U", b"ffconcat", b"ID3")


class VideoError(ValueError):
    """A video that cannot be read as asked. The message: one line, which video, what to do."""


class DecodeError(Exception):
    """This decoder cannot deliver the frames; another may."""


class Miscount(Exception):
    """What a reader took for granted is wrong, its `count` for one; choose the frames again by what it says now."""


def looks_like_video(head: bytes) -> bool:
    """Whether a file that begins with `head` may be a video: no text, no tag that may hide text.

    FFmpeg opens whatever a playlist names, files and network alike, so no text may reach it.
    """
    is_text = all(byte >= 32 or byte in b"\t\r\n" for byte in head)
    return not is_text and not head.startswith(_NOT_A_VIDEO)


def sane_fps(fps: float) -> float:
    """Frames per second as a header claims them; 0.0 where that is no speed."""
    return float(fps) if math.isfinite(fps) and fps > 0 else 0.0
