"""Processes that decode: what kills, stops or fills one of them costs the one video."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from sfllava_plugin.limits import Limits
from sfllava_plugin.video import decode
from sfllava_plugin.video.errors import DecoderUnavailable, VideoError
from sfllava_plugin.video.isolated import read_video
from sfllava_plugin.video.isolation import worker_process
from tests.faults.encoding import encode
from tests.workers import kill_workers, replacing_workers, worker_processes, worker_that_runs


@pytest.fixture
def plain(made):
    return made / "plain.mp4"


@pytest.fixture
def expected(plain):
    return decode.decode(plain, num_frames=16, image_size=48)


@pytest.fixture(autouse=True)
def fresh():
    """No process left from another test."""
    kill_workers()


def read(path, **limits):
    return read_video(path, num_frames=16, image_size=48, limits=Limits(**limits))


def meanwhile(act, path, **limits):
    """Read a video in a process that is stopped, and ``act`` on it then: the frames, or what the error says."""
    with ThreadPoolExecutor(1) as pool:
        [process] = worker_processes()
        process.suspend()
        future = pool.submit(read, path, **limits)
        time.sleep(0.3)
        act(process)
        try:
            return future.result(timeout=60)
        except VideoError as error:
            return str(error)


def same(video, expected):
    assert video.indices == expected.indices
    np.testing.assert_array_equal(video.frames, expected.frames)


@pytest.mark.parametrize("kind", [Path, Path.read_bytes])
def test_one_process_serves_many_videos(plain, expected, kind):
    same(read(kind(plain)), expected)
    before = worker_processes()
    same(read(kind(plain)), expected)
    assert worker_processes() == before


@pytest.mark.parametrize("ending", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL, signal.SIGBUS])
def test_a_process_that_dies_is_replaced(plain, expected, ending):
    read(plain)
    [first] = worker_processes()
    # It has served before: a new one has the last word, and finds nothing wrong.
    same(meanwhile(lambda process: (process.send_signal(ending), process.resume()), plain), expected)
    assert first not in worker_processes()
    assert len(worker_processes()) == 1


def test_a_video_that_crashes_a_new_process_is_to_blame(plain, expected):
    # A real crash: something is read from nowhere.
    crashed = pytest.raises(VideoError, match=r"plain.mp4 crashes the decoder; convert it")
    with replacing_workers(worker_that_runs("ctypes.string_at(0)")), crashed:
        read(plain)
    same(read(plain), expected)


def test_a_decoder_that_never_comes_back_is_ended(plain, expected):
    read(plain)
    [first] = worker_processes()
    begin = time.monotonic()
    said = meanwhile(lambda process: None, plain, decode_seconds=1)
    assert "plain.mp4: decoding took longer than 1 seconds" in said
    assert time.monotonic() - begin < 30
    assert not first.is_running()
    same(read(plain), expected)


def test_memory_is_bounded(made, plain, expected, tmp_path):
    large = tmp_path / "large.mkv"
    encode(large, np.zeros((8, 4000, 8000, 3), np.uint8), "ffv1")
    read(plain)
    with pytest.raises(VideoError, match=r"takes more memory|no video frame can be decoded|crashes the decoder"):
        read(large, decode_bytes=2**28)
    same(read(plain), expected)
    assert read(large).total_frames == 8


def test_no_more_decode_at_once_than_said(plain, expected):
    most = 0
    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(read, plain, decoders=2) for _ in range(24)]
        while not all(future.done() for future in futures):
            most = max(most, len(worker_processes()))
            time.sleep(0.01)
    assert 1 <= most <= 2
    for future in futures:
        same(future.result(), expected)


def test_an_old_process_is_replaced(plain, expected, monkeypatch):
    monkeypatch.setattr(worker_process, "_VIDEOS_PER_WORKER", 2)
    seen = set()
    for _ in range(6):
        same(read(plain), expected)
        seen |= {process.pid for process in worker_processes()}
    assert len(seen) == 3
    assert len(worker_processes()) == 0


def test_a_forked_copy_has_processes_of_its_own(plain, expected):
    read(plain)
    [ours] = worker_processes()
    if (copy := os.fork()) == 0:
        good = read(plain).indices == expected.indices and ours not in worker_processes()
        os._exit(0 if good else 1)
    assert os.waitpid(copy, 0)[1] == 0
    same(read(plain), expected)
    assert worker_processes() == [ours]


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_when_the_program_ends(plain, ending):
    program = "import sys, time; from sfllava_plugin.video.isolated import read_video\n"
    program += "read_video(sys.argv[1], num_frames=1, image_size=8); print('read', flush=True); time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", program, plain], stdout=subprocess.PIPE)
    assert parent.stdout.readline() == b"read\n"
    [process] = worker_processes(parent.pid)
    parent.send_signal(ending)
    parent.wait()
    psutil.wait_procs([process], timeout=10)
    assert not process.is_running()


def test_an_orphan_that_hangs_ends_by_itself(plain):
    """The program is killed while its decoder, outside of Python, does not come back."""
    program = """
import sys
from sfllava_plugin.video import isolated
from sfllava_plugin.limits import Limits
from tests.workers import replacing_workers, worker_that_runs
with replacing_workers(worker_that_runs("ctypes.CDLL(None).sleep(1000)")):
    isolated.read_video(sys.argv[1], num_frames=1, image_size=8, limits=Limits(decode_seconds=3))
"""
    parent = subprocess.Popen([sys.executable, "-c", program, plain], stderr=subprocess.DEVNULL)
    while not (children := psutil.Process(parent.pid).children()):
        time.sleep(0.05)
    time.sleep(1.5)
    parent.kill()
    parent.wait()
    assert all(child.is_running() for child in children)
    gone, _ = psutil.wait_procs(children, timeout=30)
    assert gone == children


def test_an_interrupt_while_waiting_leaves_a_process_that_works(plain, expected):
    read(plain)
    [first] = worker_processes()
    first.suspend()
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        read(plain)
    assert not first.is_running()
    same(read(plain), expected)


def test_a_process_that_cannot_start_says_why(plain, capfd):
    with replacing_workers("import nothing_like_it"), pytest.raises(DecoderUnavailable, match="did not start"):
        read(plain)
    assert "nothing_like_it" in capfd.readouterr().err
