"""Open video files with a tested version of PyAV."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import av
from av.codec.context import ThreadType
from av.container import InputContainer

from sfllava_plugin.video.errors import DecodeError

# On damaged videos FFmpeg floods stderr.
av.logging.set_level(None)

#: The versions that the tests cover, as in pyproject.toml. Later ones bring FFmpeg 8, which blends the colours of
#: 10-bit video differently, and PyAV 18 loses frames of a cut MP4.
SUPPORTED = "av>=15,<16"
_SUPPORTED_MAJOR = "15"

# The containers that may be opened, by FFmpeg's names: none of them can refer to other files or the network.
_CONTAINERS = {
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,gif,ogg,rm,mxf,dv,nut,"
    "ivf,obu,h264,hevc,m4v,h263,vc1,yuv4mpegpipe,wtv,gxf,jpeg_pipe,png_pipe,webp_pipe,apng"
}


class UnsupportedPyAV(ImportError):
    """The installed PyAV gives wrong frames or none for any video."""


def check_version() -> None:
    """Refuse a version of PyAV that the tests do not cover.

    Raises:
        UnsupportedPyAV: the message names the installed version and how to install a supported one.
    """
    if av.__version__.partition(".")[0] != _SUPPORTED_MAJOR:
        raise UnsupportedPyAV(f"PyAV {av.__version__} is not supported; run pip install '{SUPPORTED}'")


@contextmanager
def open_video(path: str, threads: ThreadType) -> Iterator[av.VideoStream]:
    """Open a file's first video stream.

    Args:
        path: absolute path of a file.

    Raises:
        DecodeError: the file has no video, or reading it failed.
        UnsupportedPyAV: the installed PyAV cannot be used.
    """
    check_version()
    try:
        # Not `options`: these also go to the streams, and crash PyAV 15 where streams are found late.
        with av.open(path, container_options=_CONTAINERS, metadata_errors="ignore") as container:
            if not container.streams.video:
                raise DecodeError("no video stream")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise DecodeError("unknown codec")
            stream.thread_type = threads
            yield stream
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DecodeError("PyAV cannot read it") from error


def container_of(stream: av.VideoStream) -> InputContainer:
    """Return the open file that a stream belongs to."""
    return cast(InputContainer, stream.container)  # which PyAV declares as the class that writers share


def packets(stream: av.VideoStream) -> Iterator[av.Packet | None]:
    """Yield the stream's packets; the last one flushes the decoder.

    That is an empty packet, or None after an error.
    """
    demuxed = container_of(stream).demux(stream)
    while True:
        try:
            packet = next(demuxed)
        except StopIteration:
            return
        except av.FFmpegError:  # treated as the end of the file
            yield None
            return
        yield packet


def codecs(stream: av.VideoStream) -> set[str]:
    """Return FFmpeg's names of all codecs in the stream's file.

    A codec that PyAV cannot decode is "unknown".
    """
    tracks = [track for track in stream.container.streams if track.type != "data"]
    return {track.codec_context.codec.canonical_name if track.codec_context else "unknown" for track in tracks}
