"""Open video files with the PyAV that is installed, if it is one that gives the right frames.

Does not know which frames are wanted.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import av
from av.codec.context import ThreadType

from sfllava_plugin.video.errors import DecodeError

# Damaged videos make FFmpeg talk on stderr.
av.logging.set_level(None)

#: Whose frames the tests hold to be right. FFmpeg 8, in later ones, blends the colours of 10-bit video otherwise, and
#: PyAV 18 loses frames of a cut MP4. As in pyproject.toml.
SUPPORTED = "av>=15,<16"
_SUPPORTED_MAJOR = "15"

# The containers that are read, by FFmpeg's names: none that names other files, or the network.
_CONTAINERS = {
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,gif,ogg,rm,mxf,dv,nut,"
    "ivf,obu,h264,hevc,m4v,h263,vc1,yuv4mpegpipe,wtv,gxf,jpeg_pipe,png_pipe,webp_pipe,apng"
}


class UnsupportedPyAV(ImportError):
    """The installed PyAV gives wrong frames, or none: no video's fault."""


def check_version() -> None:
    """Refuse a PyAV whose frames the tests do not vouch for.

    Raises:
        UnsupportedPyAV: the message names the installed version, and one to install.
    """
    if av.__version__.partition(".")[0] != _SUPPORTED_MAJOR:
        raise UnsupportedPyAV(f"PyAV {av.__version__} is installed; videos need another: pip install '{SUPPORTED}'")


@contextmanager
def open_video(path: str, threads: ThreadType) -> Iterator[av.VideoStream]:
    """Open a file's first video stream.

    Args:
        path: absolute path of a file.

    Raises:
        DecodeError: there is no video in it; or it went wrong while it was open.
        UnsupportedPyAV: no file can be read.
    """
    check_version()
    try:
        # As options of its streams, too, they would crash PyAV 15 where streams are found late.
        with av.open(path, container_options=_CONTAINERS, metadata_errors="ignore") as container:
            if not container.streams.video:
                raise DecodeError("no video in it")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise DecodeError("a codec that nobody knows")
            stream.thread_type = threads
            yield stream
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DecodeError("PyAV cannot read it") from error


def packets(stream: av.VideoStream) -> Iterator[av.Packet | None]:
    """The stream's packets, and None at the end, at which the decoder gives what it still holds."""
    demuxed = stream.container.demux(stream)
    while True:
        try:
            packet = next(demuxed)
        except StopIteration:
            return
        except av.FFmpegError:  # as good as the end
            yield None
            return
        yield packet


def codecs(stream: av.VideoStream) -> set[str]:
    """The codecs of all tracks of the stream's file, by FFmpeg's names; "unknown" for one that PyAV cannot decode."""
    tracks = [track for track in stream.container.streams if track.type != "data"]
    return {track.codec_context.codec.canonical_name if track.codec_context else "unknown" for track in tracks}
