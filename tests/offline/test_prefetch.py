"""Prefetching videos: in order, bounded, each once."""

import subprocess
import sys
import threading
import time

import pytest

from sfllava_plugin.engine.offline.prefetch import Prefetcher, Unreadable
from sfllava_plugin.limits import Limits
from sfllava_plugin.video.errors import VideoError

AHEAD = Limits().look_ahead


def test_each_video_comes_once_and_in_order():
    read = []

    def slow_first(path):
        time.sleep(0.05 if path == "0" else 0)
        read.append(path)
        return f"frames of {path}"

    paths = [str(number) for number in range(20)]
    with Prefetcher(paths, slow_first) as videos:
        found = [(decoded.number, decoded.video) for decoded in videos]
    assert found == [(number, f"frames of {number}") for number in range(20)]
    assert sorted(read) == sorted(paths)


def test_prefetching_is_bounded():
    started = []
    with Prefetcher([str(number) for number in range(50)], started.append) as videos:
        next(videos)
        time.sleep(0.1)
        assert len(started) <= AHEAD + 1


def test_an_error_belongs_to_its_video():
    def read(path):
        if path == "bad":
            raise VideoError("bad is broken")
        return path

    with Prefetcher(["good", "bad", "fine"], read) as videos:
        good, bad, fine = videos
    assert (good.video, fine.video) == ("good", "fine")
    assert isinstance(bad, Unreadable)
    assert str(bad.error) == "bad is broken"


def test_leaving_early_cancels_the_rest():
    release, started = threading.Event(), []

    def read(path):
        started.append(path)
        release.wait(5)

    with Prefetcher([str(number) for number in range(50)], read):
        release.set()
    assert len(started) <= AHEAD


#: Suspends a decoder process while it reads a video, and exits meanwhile.
LEAVING = """
import os, signal, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from sfllava_plugin.video import isolated
import pytest

from sfllava_plugin.engine.offline.prefetch import Prefetcher
from sfllava_plugin.limits import Limits
from tests.workers import worker_processes

def read(path):
    return isolated.read_video(path, num_frames=1, image_size=8, limits=Limits(decode_seconds=10**6))

read(sys.argv[1])
[process] = worker_processes()
process.suspend()
{leave}
"""
LEAVE = {
    "a job": "with Prefetcher([sys.argv[1]] * 9, read): pass\nassert not process.is_running()",
    "the program": "ThreadPoolExecutor(1).submit(read, sys.argv[1])",
    "a job interrupted": """
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    with Prefetcher([sys.argv[1]] * 9, read) as videos: next(videos)
except KeyboardInterrupt:
    assert not process.is_running()
else:
    sys.exit("no interrupt")
""",
}


@pytest.mark.parametrize("what", LEAVE)
def test_a_hanging_decoder_does_not_block_the_exit(bikes, what):
    call = [sys.executable, "-c", LEAVING.format(leave=LEAVE[what]), bikes]
    # Without ending the decoder, each of these would hang for ever.
    done = subprocess.run(call, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
