"""Decode untrusted videos in other processes: frames.py's `read_video`, where a crash or a hang costs one video.

Decoders are native code. About one damaged file in 8000 makes decord loop for ever where no thread can be stopped, and
one made for that may crash it, or take it over. So it runs in a process of its own, which can reach nothing else
(sandbox.py), is started when it is first needed, serves many videos, and is replaced when it dies or has grown old.
Sending 50 frames of 336 x 336 back takes 10 ms.
"""

import concurrent.futures.thread  # noqa: F401 (see the last line)
import contextlib
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sfllava_plugin.limits import DEFAULTS, Limits
from sfllava_plugin.video.errors import DecoderUnavailable, VideoError, printable
from sfllava_plugin.video.frames import Video
from sfllava_plugin.video.isolation.pool import Pool
from sfllava_plugin.video.isolation.worker_process import Decoder

__all__ = ["abilities", "read_video", "stop"]


def read_video(
    source: str | os.PathLike | bytes,
    *,
    num_frames: int,
    image_size: int,
    limits: Limits = DEFAULTS,
    may_be_refused: bool = False,
) -> Video:
    """Samples, decodes and resizes one video in another process; waits while all of them are busy.

    Args:
        source: path of a video file or of a folder of images, or the bytes of a video file.
        num_frames, image_size, limits: as in `video.decode.decode`; time and memory are limited here, too.
        may_be_refused: wait no longer than `wait_seconds`, and leave a decoder to others after `quick_seconds`.

    Raises:
        VideoError: as `video.decode.decode`; or the video took too long, or it crashed the decoder.
        DecoderFault: it was not decoded, and that is not the video's fault.
    """
    path = None if isinstance(source, (bytes, bytearray, memoryview)) else os.fsdecode(source)
    if path is None and len(source) > limits.file_bytes:
        limit = f"the limit is {limits.file_bytes}"
        raise VideoError(f"the video has {len(source)} bytes, {limit}; give a smaller version")
    request = {
        "name": "the video" if path is None else printable(path),
        "num_frames": num_frames,
        "image_size": image_size,
        "limits": limits.model_dump(),
    }
    with _file_of(source) if path is None else contextlib.nullcontext((os.path.abspath(path), None)) as (place, file):
        return _pool.decode(request | {"path": place}, file, limits, may_be_refused=may_be_refused)


def stop(threads: Iterable[threading.Thread]) -> None:
    """End the processes that decode for these threads, which then read no more videos."""
    _pool.stop(threads)


def abilities() -> list[str]:
    """What a process that decodes for a server can do here and should not (sandbox.py), in words."""
    decoder = Decoder(all_files=False)
    decoder.end()
    return decoder.abilities


@contextmanager
def _file_of(data: bytes) -> Iterator[tuple[str | None, int | None]]:
    """A file with ``data``: an open one in memory where the system has such, else the path of a temporary one.

    decord can read bytes itself, and kills the process doing it when a video is cut short. An open file on disk would
    not do: on macOS all who open it by its number read on from where the last one stopped.
    """
    with contextlib.ExitStack() as closing:
        try:
            if in_memory := hasattr(os, "memfd_create"):
                file = closing.enter_context(open(os.memfd_create("video"), "w+b", 0))
            else:
                file = closing.enter_context(tempfile.NamedTemporaryFile(buffering=0))
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
        except OSError as error:
            raise DecoderUnavailable(f"the video cannot be handed to a decoder: {error.strerror}") from error
        yield (None, file.fileno()) if in_memory else (file.name, None)


_pool = Pool()


def _start_anew() -> None:
    """In a forked copy of this process: the processes answer the original."""
    global _pool
    _pool.forget()
    _pool = Pool()


os.register_at_fork(after_in_child=_start_anew)
# When a program ends, the interpreter first waits for the threads of executors, and those for what they read. Only
# functions that are registered where concurrent.futures registers its own, and after it, come before.
threading._register_atexit(lambda: _pool.stop_all())
