"""Keep files that cannot be videos away from the decoders."""

# What opens a playlist, or the ID3 tag of audio, behind which FFmpeg looks for a playlist too.
_NOT_A_VIDEO = (b"#EXTM3U", b"ffconcat", b"ID3")


def looks_like_video(head: bytes) -> bool:
    """Whether a file that begins with `head` may be a video: no text, no tag that may hide text.

    FFmpeg opens whatever a playlist names, files and network alike, so no text may reach it.
    """
    is_text = all(byte >= 32 or byte in b"\t\r\n" for byte in head)
    return not is_text and not head.startswith(_NOT_A_VIDEO)
