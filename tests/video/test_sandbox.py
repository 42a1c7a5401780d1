"""Attempts to break out of the sandbox, made in a worker."""

import ast
import ctypes
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfllava_plugin.video import decode, isolated
from sfllava_plugin.video.errors import VideoError
from sfllava_plugin.video.isolation.sandbox import REACHES_NETWORK, READS_FILES, SEES_PROCESSES, WRITES_FILES
from tests.workers import kill_workers, replacing_workers, worker_with

SECRET = "a token of the server"


@pytest.fixture(autouse=True)
def fresh_workers():
    kill_workers()
    yield
    kill_workers()


def attempt(expression: str, source=b"a video"):
    """Evaluate an expression in a worker, in place of decoding.

    Returns its value, or the name of the error.
    """
    before = f"""
import os, pathlib, socket, subprocess, sfllava_plugin.video.decode as decode
def error_of(act, *arguments):
    try:
        return act(*arguments)
    except Exception as error:
        return type(error).__name__
def attempt(*given, **more):
    raise decode.VideoError(repr(error_of(lambda: {expression})))
decode.decode = attempt
"""
    with replacing_workers(worker_with(before)), pytest.raises(VideoError) as said:
        isolated.read_video(source, num_frames=1, image_size=8)
    return ast.literal_eval(str(said.value))


def test_unneeded_variables_are_withheld(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setenv("https_proxy", SECRET)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "HASWELL")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/somewhere")
    there = attempt("dict(os.environ)")
    assert SECRET not in there.values()
    assert there["OPENBLAS_CORETYPE"] == "HASWELL"
    assert there["LD_LIBRARY_PATH"] == "/somewhere"


@pytest.mark.parametrize("source", [b"a video", "a path"])
def test_the_environment_of_the_program_cannot_be_read(source):
    # The kernel shows the variables that a program was started with to processes of the same user.
    assert Path(f"/proc/{os.getpid()}/environ").read_bytes()
    assert attempt("open(f'/proc/{os.getppid()}/environ').read()", source) == "PermissionError"


def test_it_cannot_connect_to_the_network():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        connecting = f"socket.create_connection({server.getsockname()}, timeout=5).close()"
        assert attempt(connecting) in ("PermissionError", "ConnectionRefusedError", "OSError")
        server.settimeout(5)
        server.accept()[0].close()
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()


def test_it_cannot_connect_to_a_unix_socket(tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        assert attempt(f"socket.socket(socket.AF_UNIX).connect({path!r})") == "PermissionError"


CHANGES = [
    "pathlib.Path(path).write_text('other')",
    "open(path, 'r+').truncate()",
    "os.truncate(path, 1)",
    "os.unlink(path)",
    "os.rename(path, path + '2')",
    "os.chmod(path, 0)",
    "open(path + '2', 'w')",
    "os.mkdir(path + '2')",
    "os.symlink(path, path + '2')",
]


@pytest.mark.parametrize("source", [b"a video", "a path"])
def test_it_cannot_change_files(tmp_path, source):
    path = tmp_path / "file"
    path.write_text("unchanged")
    mode = path.stat().st_mode
    changes = "".join(f"lambda path: {change}, " for change in CHANGES)
    said = attempt(f"[error_of(change, {str(path)!r}) for change in [{changes}]]", source)
    assert said == ["PermissionError"] * len(CHANGES)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "unchanged" and path.stat().st_mode == mode


def test_given_bytes_it_cannot_read_files(tmp_path):
    (tmp_path / "secret").write_text(SECRET)
    acts = f"lambda: open({str(tmp_path / 'secret')!r}).read(), lambda: os.listdir({str(tmp_path)!r})"
    assert attempt(f"[error_of(act) for act in [{acts}]]") == ["PermissionError"] * 2


def test_it_cannot_start_programs_or_send_signals():
    acts = "lambda: subprocess.run(['/bin/true']), lambda: os.kill(os.getppid(), 0), lambda: os.fork()"
    assert attempt(f"[error_of(act) for act in [{acts}]]") == ["PermissionError"] * 3


@pytest.fixture
def folder(tmp_path):
    """A folder of images which only its owner may read."""
    for number in range(4):
        Image.fromarray(np.full((20, 30, 3), 60 * number, np.uint8)).save(tmp_path / f"{number}.png")
    tmp_path.chmod(0o700)
    return tmp_path


def test_it_decodes_every_kind_of_source(bikes, folder):
    for source in (bikes, bikes.read_bytes(), folder):
        here = decode.decode(folder if source is folder else bikes, num_frames=4, image_size=32)
        np.testing.assert_array_equal(isolated.read_video(source, num_frames=4, image_size=32).frames, here.frames)


UNSHARE, LANDLOCK, SECCOMP = ["unshare"], ["landlock_create_ruleset"], ["seccomp", "prctl"]
READ_ALL, ADMIN = [1, 2], [21]
#: By container: system calls it refuses, capabilities it takes from root, and the gaps this leaves in the sandbox.
CONTAINERS = {
    "nothing": ([], [], []),
    "namespaces": (UNSHARE, [], []),
    "filters": (SECCOMP, [], []),
    "all but filters": ([*UNSHARE, *LANDLOCK], [], [READS_FILES, SEES_PROCESSES]),
    "all but namespaces": ([*LANDLOCK, *SECCOMP], [*READ_ALL, *ADMIN], [WRITES_FILES, READS_FILES]),
    "all": (
        [*UNSHARE, *LANDLOCK, *SECCOMP],
        [],
        [REACHES_NETWORK, WRITES_FILES, READS_FILES, SEES_PROCESSES],
    ),
}
IN_CONTAINER = """
import json, sys
from sfllava_plugin.video import isolated
from sfllava_plugin.video.isolation import kernel
kernel.forbid_new_privileges()
# Either call installs a filter. prctl has other uses, so only PR_SET_SECCOMP (22) is refused.
rules = {"prctl": kernel.Refused("prctl", where=0, mask=0xFFFFFFFF, value=22)}
kernel.refuse([rules.get(call, kernel.Refused(call)) for call in sys.argv[2:]])
with open(sys.argv[1], "rb") as file:
    videos = [isolated.read_video(given, num_frames=4, image_size=16) for given in (sys.argv[1], file.read())]
print(json.dumps([[video.total_frames for video in videos], isolated.sandbox_gaps()]))
"""


def read_in_container(video, refused=(), without=()):
    """Read a video without some calls and capabilities.

    Returns the frame counts, of the path and of the bytes, and the gaps.
    """

    def drop() -> None:
        for capability in without:
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP: a program started by root lacks it

    command = [sys.executable, "-c", IN_CONTAINER, video, *refused]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=drop)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("container", CONTAINERS)
def test_it_decodes_in_every_container_and_reports_the_gaps(bikes, container):
    refused, without, gaps = CONTAINERS[container]
    assert read_in_container(bikes, refused, without) == [[250, 250], gaps]


def test_root_can_read_files_of_other_users(bikes, tmp_path):
    video = tmp_path / "theirs.mp4"
    video.write_bytes(bikes.read_bytes())
    video.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(video, 1234, 1234)
    # As in a container, where root may not create a network namespace without a user namespace.
    assert read_in_container(video, without=ADMIN)[0] == [250, 250]
