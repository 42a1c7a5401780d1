"""A server for all tests of this folder, open to bad requests."""

import json
import os

import httpx
import pytest

from tests.faults.host import serving
from tests.faults.requests import NAME
from tests.faults.server.support import text_of
from tests.serving import serve

#: Runs in every Python process of the server, and breaks workers as the files beside it say.
SITECUSTOMIZE = """
import pathlib, sys
here = pathlib.Path(__file__).parent
if "sfllava_plugin.video.isolation.worker" in sys.orig_argv:
    if (here / "PyAV is missing").exists():
        sys.modules["av"] = None
    if (here / "av.open has a bug").exists():
        import av
        av.open = lambda path: None
"""


@pytest.fixture(scope="package")
def web(made):
    """The address of a host with the inputs."""
    with serving(made) as url:
        yield url


@pytest.fixture(scope="package")
def scratch(tmp_path_factory):
    """A folder for the server's log, limits and worker-breaking files."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="package")
def server(made, scratch):
    """The address of the server.

    It may read the inputs and fetch from one domain, and its clients may choose how videos are read. It has one worker,
    for which no video is slow.
    """
    arguments = ["--allowed-local-media-path", str(made), "--allowed-media-domains", "127.0.0.1"]
    arguments += ["--trust-request-mm-kwargs", "--enable-log-requests"]
    variables = {"VLLM_VIDEO_FETCH_TIMEOUT": "2", "VLLM_MEDIA_FETCH_MAX_RETRIES": "1"}
    variables |= {"VLLM_MAX_MEDIA_DOWNLOAD_SIZE_MB": "64"}
    (scratch / "limits.yaml").write_text("limits: {decoders: 1, wait_seconds: 1, quick_seconds: 100}")
    (scratch / "sitecustomize.py").write_text(SITECUSTOMIZE)
    path = os.pathsep.join(filter(None, [str(scratch), os.environ.get("PYTHONPATH")]))
    variables |= {"SFLLAVA_REGISTRY": str(scratch / "limits.yaml"), "PYTHONPATH": path}
    with serve(NAME, *arguments, log=scratch / "log", **variables) as url:
        yield url


@pytest.fixture
def post(server):
    """post(body): the response to a chat completion; bytes are sent unchanged."""

    def send(body):
        # json.dumps, because httpx cannot send half a surrogate pair.
        content = body if isinstance(body, bytes) else json.dumps(body)
        headers = {"Content-Type": "application/json"}
        return httpx.post(f"{server}/v1/chat/completions", content=content, headers=headers, timeout=120)

    return send


@pytest.fixture
def chat(post, good):
    """chat(video's URL, ...): the response; other keywords go into the body."""

    def ask(url, question=good.question, max_tokens=24, **more):
        content = [{"type": "video_url", "video_url": {"url": url}}, {"type": "text", "text": question}]
        return post(
            {"model": NAME, "messages": [{"role": "user", "content": content}], "max_tokens": max_tokens} | more
        )

    return ask


@pytest.fixture
def alive(chat, made, good):
    """Check afterwards that the server still answers a good question."""
    yield
    assert text_of(chat((made / "plain.mp4").as_uri())) == good.answer
