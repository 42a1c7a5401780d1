"""Failures that are not the video's fault.

Bugs, missing libraries, a machine short of resources, and busy workers.
"""

import ctypes
import os
import resource
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice

import pytest

from sfllava_plugin import check, cli
from sfllava_plugin.limits import Limits
from sfllava_plugin.video import isolated
from sfllava_plugin.video.errors import DecoderFault, DecodersBusy, DecoderUnavailable, VideoError
from tests.workers import kill_workers, replacing_workers, worker_that_runs, worker_with

#: `av.open` as an unsupported PyAV might define it.
OTHER_PYAV = """
import av
def other(path, mode="r", *, container_options=None):
    raise AssertionError("never called with arguments it takes")
av.open = other
"""
#: Makes `import av` fail.
WITHOUT_PYAV = "import sys; sys.modules['av'] = None"
#: Puts a bug into one of our functions that every video passes through.
CHECK = "import sfllava_plugin.video.decode as decode; decode._check_file = lambda *given:"


@pytest.fixture(autouse=True)
def fresh_workers():
    kill_workers()
    yield
    kill_workers()


def read(source, **limits):
    return isolated.read_video(source, num_frames=4, image_size=16, limits=Limits(**limits))


@pytest.mark.parametrize(
    ("before", "cause"),
    [
        (OTHER_PYAV, r"TypeError: .*'metadata_errors' \(pyav_\w+.py, line \d+\)"),
        ("import av; av.__version__ = '18.1.0'", r"\S*UnsupportedPyAV: PyAV 18.1.0 is not supported; .*'av>=15,<16'"),
        (f"{CHECK} nothing_like_it", "NameError: "),
        (f"{CHECK} {{}}[given]", "KeyError: "),
        (f"{CHECK} given.nothing", "AttributeError: "),
    ],
    ids=["another av.open", "another version", "name", "key", "attribute"],
)
def test_a_bug_is_not_blamed_on_the_video(bikes, before, cause):
    blamed = pytest.raises(DecoderFault, match=f"not in the video: {cause}")
    with replacing_workers(worker_with(before)), blamed as fault:
        read(bikes)
    assert "Traceback" in fault.value.details
    assert "\n" not in str(fault.value)
    assert read(bikes).total_frames == 250


def test_a_missing_library_is_not_blamed_on_the_video(bikes):
    blamed = pytest.raises(DecoderUnavailable, match=r"did not start: .*import of av")
    with replacing_workers(worker_with(WITHOUT_PYAV)), blamed as fault:
        read(bikes)
    assert "Traceback" in fault.value.details
    assert read(bikes).total_frames == 250


def test_sfllava_check_finds_a_missing_library():
    assert check.decoders() == check.Finding("decoders", "confined")
    kill_workers()
    with replacing_workers(worker_with(WITHOUT_PYAV)):
        found = check.decoders()
    assert not found.good and "import of av" in found.fix


def test_an_error_that_a_video_can_cause_is_blamed_on_it(bikes):
    with replacing_workers(worker_that_runs("int('x')")), pytest.raises(VideoError, match="crashes the decoder"):
        read(bikes)


@pytest.mark.parametrize(
    "reply",
    [
        "b'5\\n'",
        "b'{}\\n'",
        "b'[' * 100_000 + b'\\n'",
        """b'{"frames": "all"}\\n'""",
        """b'{"frames": [1, 16, 16, 3]}\\n' + bytes(16 * 16 * 3)""",
        """b'{"frames": [1, 16, 17, 3], "indices": [0], "total_frames": 1, "fps": 1, "decoder": ""}\\n' + bytes(816)""",
        """b'{"error": "' + b'x' * 2**25 + b'"}\\n'""",
    ],
    ids=["number", "nothing", "nested", "frames", "indices", "size", "too long"],
)
def test_a_reply_that_makes_no_sense_is_a_crash(bikes, reply):
    """A worker that a video has taken over may send anything."""
    sends = f"socket.socket(fileno=int(__import__('sys').argv[1])).sendall({reply})"
    with replacing_workers(worker_that_runs(sends)), pytest.raises(VideoError, match="crashes the decoder"):
        read(bikes)
    assert read(bikes).total_frames == 250


def test_a_reply_sent_byte_by_byte_does_not_outlast_the_time_limit(bikes):
    drip = "[(os.write(int(__import__('sys').argv[1]), b' '), time.sleep(0.2)) for _ in range(10**6)]"
    begun = time.monotonic()
    too_slow = pytest.raises(VideoError, match="decoding took longer than 2 seconds")
    with replacing_workers(worker_that_runs(drip)), too_slow:
        read(bikes, decode_seconds=2)
    # Workers start twice: for the quick attempt and for the slow one.
    assert time.monotonic() - begun < 60
    assert read(bikes).total_frames == 250


def test_the_command_names_the_program_as_the_cause(bikes, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sfllava", "ask", str(bikes), "What is it?", "--model", "sf-llava-tiny"])
    with replacing_workers(worker_with(OTHER_PYAV)), pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("sfllava: ") and error.count("\n") == 1
    assert "because of a fault in the program, not in the video: TypeError" in error


def test_a_shortage_of_descriptors_is_not_blamed_on_the_video(bikes):
    data = bikes.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = os.open(os.devnull, os.O_RDONLY)
    # open() returned the lowest free number, so no other is free below the limit.
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 1, hard))
    try:
        with pytest.raises(DecoderUnavailable, match="cannot start a decoder process: Too many open files"):
            read(bikes)
        with pytest.raises(DecoderUnavailable, match="cannot hand the video to a decoder: Too many open files"):
            read(data)
    finally:
        os.close(taken)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert read(data).total_frames == 250


def test_a_hard_memory_limit_is_kept(bikes):
    """Containers and batch systems set hard limits, which users cannot raise."""

    def limit() -> None:
        ctypes.CDLL(None).prctl(24, 24, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_SYS_RESOURCE: root may not either
        resource.setrlimit(resource.RLIMIT_DATA, (2**31, 2**31))

    reading = """
import sys
from sfllava_plugin.video import isolated
print(isolated.read_video(sys.argv[1], num_frames=4, image_size=16).total_frames)
"""
    done = subprocess.run([sys.executable, "-c", reading, bikes], capture_output=True, text=True, preexec_fn=limit)
    assert (done.stdout, done.stderr) == ("250\n", "")


#: Sleeps in native code on videos whose name begins with "slow".
SLOW = "ctypes.CDLL(None).sleep(1000) if os.path.basename(path).startswith('slow') else None"


def test_slow_videos_leave_one_decoder_free(bikes, tmp_path):
    slow = [tmp_path / f"slow{number}.mp4" for number in range(3)]
    for path in slow:
        path.write_bytes(b"a video")

    def ask(path, wait_seconds=600, quick_seconds=600):
        limits = Limits(decoders=2, decode_seconds=1000, wait_seconds=wait_seconds, quick_seconds=quick_seconds)
        return isolated.read_video(path, num_frames=4, image_size=16, limits=limits, fail_when_busy=True)

    threads = []
    remember = {"initializer": lambda: threads.append(threading.current_thread())}
    with replacing_workers(worker_that_runs(SLOW)), ThreadPoolExecutor(3, **remember) as pool:
        asked = [pool.submit(ask, path, 1, 0.5) for path in slow]
        refused = list(islice(as_completed(asked), 2))
        assert [type(future.exception()) for future in refused] == [DecodersBusy] * 2
        # The third decodes on, but does not hold the last decoder.
        assert [ask(bikes).total_frames for _ in range(3)] == [250] * 3
        [left] = set(asked) - set(refused)
        assert not left.done()
        isolated.stop(threads)
