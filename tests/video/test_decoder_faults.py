"""What is not the video's fault is not called so: bugs, a machine that lacks something, decoders that are all busy."""

import ctypes
import os
import resource
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice

import numpy as np
import pytest

from sfllava_plugin import check, cli
from sfllava_plugin.limits import Limits
from sfllava_plugin.video import decode, isolated
from sfllava_plugin.video.errors import DecoderFault, DecodersBusy, DecoderUnavailable, VideoError
from tests.decoder_programs import decoders, end_all, looking_at, program

#: What becomes of `av.open` where PyAV has another version than the readers are made for.
OTHER_PYAV = """
import av
def other(path, mode="r", *, container_options=None):
    raise AssertionError("never called with what it takes")
av.open = other
"""
#: Something of ours that a video is given to.
CHECK = "import sfllava_plugin.video.decode as frames; frames._check_file = lambda *given:"


@pytest.fixture(autouse=True)
def fresh():
    end_all()
    yield
    end_all()


def read(source, **limits):
    return isolated.read_video(source, num_frames=4, image_size=16, limits=Limits(**limits))


@pytest.mark.parametrize(
    ("before", "cause"),
    [
        (OTHER_PYAV, r"TypeError: .*'metadata_errors' \(pyav_\w+.py, line \d+\)"),
        ("import av; av.__version__ = '18.1.0'", r"\S*UnsupportedPyAV: PyAV 18.1.0 is installed; .*'av>=15,<16'"),
        (f"{CHECK} nothing_like_it", "NameError: "),
        (f"{CHECK} {{}}[given]", "KeyError: "),
        (f"{CHECK} given.nothing", "AttributeError: "),
    ],
    ids=["another PyAV", "another number of PyAV", "name", "key", "attribute"],
)
def test_a_bug_is_ours(bikes, before, cause):
    with decoders(program(before)), pytest.raises(DecoderFault, match=f"not of the video: {cause}") as fault:
        read(bikes)
    assert "Traceback" in fault.value.details
    assert "\n" not in str(fault.value)
    assert read(bikes).total_frames == 250


def test_a_decoder_that_cannot_be_imported_is_ours(bikes):
    missing = "import sys; sys.modules['av'] = None"
    with decoders(program(missing)), pytest.raises(DecoderUnavailable, match=r"did not start: .*import of av") as fault:
        read(bikes)
    assert "Traceback" in fault.value.details
    assert read(bikes).total_frames == 250


def test_the_check_finds_it(bikes):
    assert check.decoders() == check.Finding("decoders", "confined")
    end_all()
    with decoders(program("import sys; sys.modules['av'] = None")):
        found = check.decoders()
    assert not found.good and "import of av" in found.fix


def test_an_error_that_a_video_may_cause_is_the_videos(bikes):
    with decoders(looking_at("int('x')")), pytest.raises(VideoError, match="crashes the decoder"):
        read(bikes)


def test_the_command_says_whose_fault_it_is(bikes, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sfllava", "ask", str(bikes), "What is it?", "--model", "sf-llava-tiny"])
    with decoders(program(OTHER_PYAV)), pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("sfllava: ") and error.count("\n") == 1
    assert "by a fault of the program and not of the video: TypeError" in error


def test_too_few_descriptors_are_the_machines(bikes):
    data = bikes.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = os.open(os.devnull, os.O_RDONLY)
    # The lowest number that was free: there is no other below the limit.
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 1, hard))
    try:
        with pytest.raises(DecoderUnavailable, match="can be started: Too many open files"):
            read(bikes)
        with pytest.raises(DecoderUnavailable, match="handed to a decoder: Too many open files"):
            read(data)
    finally:
        os.close(taken)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert read(data).total_frames == 250


def test_a_memory_limit_that_cannot_be_raised_is_kept(bikes):
    """As in containers and batch systems: a hard limit, and a user who may not raise it."""

    def limit() -> None:
        ctypes.CDLL(None).prctl(24, 24, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_SYS_RESOURCE: nor may root
        resource.setrlimit(resource.RLIMIT_DATA, (2**31, 2**31))

    reading = """
import sys
from sfllava_plugin.video import isolated
print(isolated.read_video(sys.argv[1], num_frames=4, image_size=16).total_frames)
"""
    done = subprocess.run([sys.executable, "-c", reading, bikes], capture_output=True, text=True, preexec_fn=limit)
    assert (done.stdout, done.stderr) == ("250\n", "")


def test_bytes_are_read_where_no_file_lies_in_memory(bikes, monkeypatch):
    monkeypatch.delattr(os, "memfd_create")
    here = decode.decode(bikes, num_frames=4, image_size=16)
    np.testing.assert_array_equal(read(bikes.read_bytes()).frames, here.frames)


#: Sleeps, outside of Python, over videos whose name begins so.
SLOW = "ctypes.CDLL(None).sleep(1000) if os.path.basename(path).startswith('slow') else None"


def test_slow_videos_leave_a_decoder_to_the_others(bikes, tmp_path):
    slow = [tmp_path / f"slow{number}.mp4" for number in range(3)]
    for path in slow:
        path.write_bytes(b"a video")

    def ask(path, wait_seconds=600, quick_seconds=600):
        limits = Limits(decoders=2, decode_seconds=1000, wait_seconds=wait_seconds, quick_seconds=quick_seconds)
        return isolated.read_video(path, num_frames=4, image_size=16, limits=limits, may_be_refused=True)

    threads = []
    remember = {"initializer": lambda: threads.append(threading.current_thread())}
    with decoders(looking_at(SLOW)), ThreadPoolExecutor(3, **remember) as hostile:
        asked = [hostile.submit(ask, path, 1, 0.5) for path in slow]
        refused = list(islice(as_completed(asked), 2))
        assert [type(future.exception()) for future in refused] == [DecodersBusy] * 2
        # One may take as long as a video may. It does not take the last decoder.
        assert [ask(bikes).total_frames for _ in range(3)] == [250] * 3
        [left] = set(asked) - set(refused)
        assert not left.done()
        isolated.stop(threads)
