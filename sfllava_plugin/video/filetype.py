"""Keep files that cannot be videos away from the decoders."""

# Playlists, and the ID3 tag of audio, behind which FFmpeg looks for a playlist too.
_NOT_A_VIDEO = (b"#EXTM3U", b"ffconcat", b"ID3")


def looks_like_video(head: bytes) -> bool:
    """Return whether a file that begins with `head` may be a video.

    Text, and tags that may hide text, are refused: FFmpeg opens whatever a playlist names, files and network alike.
    """
    is_text = all(byte >= 32 or byte in b"\t\r\n" for byte in head)
    return not is_text and not head.startswith(_NOT_A_VIDEO)
