"""Decode untrusted videos in worker processes.

A crash or a hang costs one video, not the server. Decoders are native code. About one damaged file in 8000 makes decord
loop for ever, where no thread can be stopped, and a file made for the purpose may crash it or take it over. So it runs
in a confined process (isolation/sandbox.py), which is started on first use, serves many videos, and is replaced when it
dies or has served enough. Sending 50 frames of 336 x 336 back takes 10 ms.
"""

import concurrent.futures.thread  # noqa: F401 (see the last line)
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict
from typing import IO, NamedTuple

from sfllava_plugin.limits import DEFAULTS, Limits
from sfllava_plugin.video.errors import DecoderUnavailable, VideoError, printable
from sfllava_plugin.video.fit import SQUASH, Fit
from sfllava_plugin.video.frames import Video
from sfllava_plugin.video.isolation.pool import Pool
from sfllava_plugin.video.isolation.worker import Request
from sfllava_plugin.video.isolation.worker_process import WorkerProcess
from sfllava_plugin.video.sampling import Sampling

__all__ = ["read_video", "sandbox_gaps", "stop"]


def read_video(
    source: str | os.PathLike[str] | bytes | bytearray | memoryview,
    *,
    num_frames: int,
    image_size: int,
    sampling: Sampling = "middles",
    fit: Fit = SQUASH,
    limits: Limits = DEFAULTS,
    fail_when_busy: bool = False,
) -> Video:
    """Sample, decode and resize one video in a worker process.

    Blocks until a worker is free.

    Args:
        source: path of a video file or of a folder of images, or the bytes of a video file.
        num_frames, image_size, sampling, fit: as in `video.decode.decode`.
        limits: as in `video.decode.decode`; those on time and memory apply too.
        fail_when_busy: for servers. Wait no longer than `wait_seconds`, and treat the video as slow after
            `quick_seconds` (isolation/pool.py).

    Returns:
        Frames of uint8 [T, S, S, 3] and where they come from.

    Raises:
        VideoError: as `video.decode.decode`; or the video took too long, or crashed the decoder.
        DecoderFault: the video was not decoded, and is not to blame.
    """
    opened: AbstractContextManager[_Place]
    if isinstance(source, (bytes, bytearray, memoryview)):
        if len(source) > limits.file_bytes:
            limit = f"the limit is {limits.file_bytes}"
            raise VideoError(f"the video has {len(source)} bytes, {limit}; give a smaller version")
        name, opened = "the video", _file_of(source)
    else:
        path = os.fsdecode(source)
        name, opened = printable(path), nullcontext(_Place(os.path.abspath(path), None))
    with opened as place:
        request = Request(
            path=place.path,
            name=name,
            num_frames=num_frames,
            image_size=image_size,
            sampling=sampling,
            fit=asdict(fit),
            limits=limits.model_dump(),
        )
        return _pool.decode(request, place.descriptor, limits, fail_when_busy=fail_when_busy)


def stop(threads: Iterable[threading.Thread]) -> None:
    """Kill the workers of these threads, which can read no more videos."""
    _pool.stop(threads)


def sandbox_gaps() -> list[str]:
    """Return what the sandbox of a worker fails to prevent, in words."""
    worker = WorkerProcess(all_files=False)
    worker.end()
    return worker.gaps


class _Place(NamedTuple):
    """A file, by its path or by its descriptor."""

    path: str | None
    descriptor: int | None


@contextmanager
def _file_of(data: bytes | bytearray | memoryview) -> Iterator[_Place]:
    """Yield a file with ``data``.

    A file in memory, with a descriptor only, where the system has such files; else a temporary one, with a path only.

    decord can read bytes itself, but kills the process when a video is cut short. The descriptor of a file on disk
    would not do: on macOS, everyone who opens it by number shares one read position.
    """
    file: IO[bytes]
    with ExitStack() as closing:
        try:
            if in_memory := hasattr(os, "memfd_create"):
                file = closing.enter_context(open(os.memfd_create("video"), "w+b", 0))
            else:
                file = closing.enter_context(tempfile.NamedTemporaryFile(buffering=0))
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
        except OSError as error:
            raise DecoderUnavailable(f"cannot hand the video to a decoder: {error.strerror}") from error
        yield _Place(None, file.fileno()) if in_memory else _Place(file.name, None)


_pool = Pool()


def _replace_pool() -> None:
    """Give a forked copy of this process a pool of its own."""
    global _pool
    _pool.abandon()
    _pool = Pool()


os.register_at_fork(after_in_child=_replace_pool)
# When a program ends, the interpreter first joins the threads of executors, and these may be reading videos. Only
# functions registered where concurrent.futures registers its own, and after it, run before that.
threading._register_atexit(lambda: _pool.stop_all())  # type: ignore[attr-defined]  # private, so not declared
