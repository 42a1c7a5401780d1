"""Failures of the server itself.

A bug is a 500, and a temporary failure a 503 with Retry-After.
"""

import re
from concurrent.futures import ThreadPoolExecutor, as_completed

import httpx
import psutil
import pytest

from tests.faults.requests import NAME
from tests.faults.server.support import text_of
from tests.serving import data_url
from tests.workers import worker_processes

pytestmark = pytest.mark.server


def server_and_workers():
    """Return the server's process and its workers."""
    [server] = [child for child in psutil.Process().children() if "serve" in child.cmdline()]
    return server, worker_processes(server.pid)


@pytest.fixture
def break_workers(scratch):
    """break_workers(how): replace the workers by broken ones (SITECUSTOMIZE in conftest.py)."""
    flags = []

    def replace(how):
        (scratch / how).touch()
        flags.append(scratch / how)
        for process in server_and_workers()[1]:
            process.kill()

    yield replace
    for path in flags:
        path.unlink()
    for process in server_and_workers()[1]:
        process.kill()


def check_failed(response, status, words):
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == status and re.search(words, error["message"])
    assert ("retry-after" in response.headers) == (status == 503)


STREAMING = pytest.mark.parametrize("stream", [False, True])


@pytest.mark.usefixtures("alive")
@STREAMING
def test_a_worker_that_does_not_start_is_503(chat, made, scratch, break_workers, stream):
    break_workers("PyAV is missing")
    response = chat((made / "plain.mp4").as_uri(), stream=stream)
    check_failed(response, 503, "cannot read videos at the moment")
    assert "import of av halted" in (scratch / "log").read_text()


@pytest.mark.usefixtures("alive")
@STREAMING
def test_a_bug_is_500(chat, made, scratch, break_workers, stream):
    break_workers("av.open has a bug")
    check_failed(chat(data_url((made / "vp8.webm").read_bytes()), stream=stream), 500, "a fault of this server")
    assert "TypeError: <lambda>() got an unexpected keyword argument" in (scratch / "log").read_text()


@pytest.mark.usefixtures("alive")
@STREAMING
def test_too_many_open_files_is_503(server, made, scratch, stream):
    process, _ = server_and_workers()
    content = [
        {"type": "video_url", "video_url": {"url": (made / "a.gif").as_uri()}},
        {"type": "text", "text": "what?"},
    ]
    body = {"model": NAME, "messages": [{"role": "user", "content": content}], "stream": stream}
    # Use an open connection, because the server cannot accept another.
    with httpx.Client(timeout=60) as client:
        assert client.get(f"{server}/health").status_code == 200
        before = process.rlimit(psutil.RLIMIT_NOFILE)
        process.rlimit(psutil.RLIMIT_NOFILE, (3, before[1]))
        try:
            response = client.post(f"{server}/v1/chat/completions", json=body)
        finally:
            process.rlimit(psutil.RLIMIT_NOFILE, before)
    check_failed(response, 503, "cannot read videos at the moment")
    assert "Too many open files" in (scratch / "log").read_text()


@pytest.mark.usefixtures("alive")
@STREAMING
def test_busy_workers_are_503(chat, made, stream):
    assert text_of(chat(data_url((made / "plain.mp4").read_bytes())))
    _, [worker] = server_and_workers()
    worker.suspend()
    with ThreadPoolExecutor(2) as clients:
        videos = [data_url((made / name).read_bytes() + bytes([stream])) for name in ("plain.mp4", "hevc.mp4")]
        answers = as_completed([clients.submit(chat, url, stream=stream) for url in videos])
        # One request holds the only worker, which is suspended; the other waits.
        check_failed(next(answers).result(), 503, "all decoders were busy for 1 seconds")
        worker.resume()
        assert next(answers).result().status_code == 200
