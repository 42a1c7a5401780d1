"""Workers that die, hang or run out of memory cost one video."""

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
def fresh_workers():
    kill_workers()


def read(path, **limits):
    return read_video(path, num_frames=16, image_size=48, limits=Limits(**limits))


def meanwhile(act, path, **limits):
    """Suspend the worker, request a video, and ``act`` on the worker.

    Returns the video or the error message.
    """
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


def check_same(video, expected):
    assert video.indices == expected.indices
    np.testing.assert_array_equal(video.frames, expected.frames)


@pytest.mark.parametrize("kind", [Path, Path.read_bytes])
def test_one_worker_serves_many_videos(plain, expected, kind):
    check_same(read(kind(plain)), expected)
    before = worker_processes()
    check_same(read(kind(plain)), expected)
    assert worker_processes() == before


@pytest.mark.parametrize("ending", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL, signal.SIGBUS])
def test_a_worker_that_dies_is_replaced(plain, expected, ending):
    read(plain)
    [first] = worker_processes()
    # The worker has served before, so the video gets a second chance in a new one.
    check_same(meanwhile(lambda process: (process.send_signal(ending), process.resume()), plain), expected)
    assert first not in worker_processes()
    assert len(worker_processes()) == 1


def test_a_video_that_crashes_a_new_worker_is_refused(plain, expected):
    # A real crash: read from address 0.
    crashed = pytest.raises(VideoError, match=r"plain.mp4 crashes the decoder; convert it")
    with replacing_workers(worker_that_runs("ctypes.string_at(0)")), crashed:
        read(plain)
    check_same(read(plain), expected)


def test_a_worker_that_hangs_is_killed(plain, expected):
    read(plain)
    [first] = worker_processes()
    begin = time.monotonic()
    error = meanwhile(lambda process: None, plain, decode_seconds=1)
    assert "plain.mp4: decoding took longer than 1 seconds" in error
    assert time.monotonic() - begin < 30
    assert not first.is_running()
    check_same(read(plain), expected)


def test_the_memory_of_a_worker_is_limited(made, plain, expected, tmp_path):
    large = tmp_path / "large.mkv"
    encode(large, np.zeros((8, 4000, 8000, 3), np.uint8), "ffv1")
    read(plain)
    with pytest.raises(VideoError, match=r"needs more memory|no video frame can be decoded|crashes the decoder"):
        read(large, decode_bytes=2**28)
    check_same(read(plain), expected)
    assert read(large).total_frames == 8


def test_no_more_videos_are_decoded_at_once_than_allowed(plain, expected):
    most = 0
    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(read, plain, decoders=2) for _ in range(24)]
        while not all(future.done() for future in futures):
            most = max(most, len(worker_processes()))
            time.sleep(0.01)
    assert 1 <= most <= 2
    for future in futures:
        check_same(future.result(), expected)


def test_an_old_worker_is_replaced(plain, expected, monkeypatch):
    monkeypatch.setattr(worker_process, "_VIDEOS_PER_WORKER", 2)
    seen = set()
    for _ in range(6):
        check_same(read(plain), expected)
        seen |= {process.pid for process in worker_processes()}
    assert len(seen) == 3
    assert len(worker_processes()) == 0


def test_a_forked_copy_has_its_own_workers(plain, expected):
    read(plain)
    [ours] = worker_processes()
    if (copy := os.fork()) == 0:
        good = read(plain).indices == expected.indices and ours not in worker_processes()
        os._exit(0 if good else 1)
    assert os.waitpid(copy, 0)[1] == 0
    check_same(read(plain), expected)
    assert worker_processes() == [ours]


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_the_program(plain, ending):
    program = "import sys, time; from sfllava_plugin.video.isolated import read_video\n"
    program += "read_video(sys.argv[1], num_frames=1, image_size=8); print('read', flush=True); time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", program, plain], stdout=subprocess.PIPE)
    assert parent.stdout.readline() == b"read\n"
    [process] = worker_processes(parent.pid)
    parent.send_signal(ending)
    parent.wait()
    psutil.wait_procs([process], timeout=10)
    assert not process.is_running()


def test_an_orphaned_worker_that_hangs_ends_by_itself(plain):
    """The program is killed while its worker hangs in native code."""
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


def test_after_an_interrupt_a_new_worker_is_started(plain, expected):
    read(plain)
    [first] = worker_processes()
    first.suspend()
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        read(plain)
    assert not first.is_running()
    check_same(read(plain), expected)


def test_a_worker_that_cannot_start_reports_why(plain, capfd):
    with replacing_workers("import nothing_like_it"), pytest.raises(DecoderUnavailable, match="did not start"):
        read(plain)
    assert "nothing_like_it" in capfd.readouterr().err
