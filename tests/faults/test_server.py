"""`vllm serve` for strangers: every bad request is a 4xx with one sentence, the next good one is answered rightly."""

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor, as_completed

import httpx
import psutil
import pytest

from tests.decoder_programs import processes
from tests.faults import inputs
from tests.faults.host import serving
from tests.faults.requests import BODIES, NAME, URLS, url_of
from tests.serving import data_url, serve

#: Runs in every process of the server; files beside it say what is wrong with those that decode.
BROKEN = """
import pathlib, sys
wrong = pathlib.Path(__file__).parent
if "sfllava_plugin.video.isolation.worker" in sys.orig_argv:
    if (wrong / "does not start").exists():
        sys.modules["av"] = None
    if (wrong / "has a bug").exists():
        import av
        av.open = lambda path: None
"""


@pytest.fixture(scope="module")
def web(made):
    """The address of a host with the inputs."""
    with serving(made) as url:
        yield url


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """A folder for the server's log, its limits, and what is wrong with its decoders."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def server(made, scratch):
    """A server that may read the inputs and fetch from one domain, whose clients may say how videos are read."""
    arguments = ["--allowed-local-media-path", str(made), "--allowed-media-domains", "127.0.0.1"]
    arguments += ["--trust-request-mm-kwargs", "--enable-log-requests"]
    variables = {"VLLM_VIDEO_FETCH_TIMEOUT": "2", "VLLM_MEDIA_FETCH_MAX_RETRIES": "1"}
    variables |= {"VLLM_MAX_MEDIA_DOWNLOAD_SIZE_MB": "64"}
    (scratch / "limits.yaml").write_text("limits: {decoders: 1, wait_seconds: 1, quick_seconds: 100}")
    (scratch / "sitecustomize.py").write_text(BROKEN)
    path = os.pathsep.join(filter(None, [str(scratch), os.environ.get("PYTHONPATH")]))
    variables |= {"SFLLAVA_REGISTRY": str(scratch / "limits.yaml"), "PYTHONPATH": path}
    with serve(NAME, *arguments, log=scratch / "log", **variables) as url:
        yield url


@pytest.fixture
def chat(server, good):
    """chat(video's URL, ...): the response; further keys go into the request."""

    def post(url, question=good.question, max_tokens=24, **more):
        content = [{"type": "video_url", "video_url": {"url": url}}, {"type": "text", "text": question}]
        body = {"model": NAME, "messages": [{"role": "user", "content": content}], "max_tokens": max_tokens} | more
        # json.dumps and not httpx: half a character is written as it is written in JSON.
        headers = {"Content-Type": "application/json"}
        return httpx.post(f"{server}/v1/chat/completions", content=json.dumps(body), headers=headers, timeout=120)

    return post


@pytest.fixture
def alive(chat, made, good):
    """Afterwards, the next good question is answered rightly."""
    yield
    assert text_of(chat((made / "plain.mp4").as_uri())) == good.answer


def text_of(response):
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["message"]["content"].strip()


def refused(response, words, made, one_line=True):
    assert 400 <= response.status_code < 500, response.text
    error = response.json()["error"]["message"]
    assert re.search(words, error), error
    assert not re.search(r"Traceback|File \"|0x[0-9a-f]{6}|/site-packages/", error), error
    assert str(made) not in error
    if one_line:
        assert "\n" not in error and len(error) < 800


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize("video", inputs.VIDEOS, ids=lambda video: ascii(video.name)[:40])
def test_videos(chat, made, good, video):
    response = chat((made / video.name).as_uri())
    if error := video.served or video.error:
        refused(response, error, made)
    else:
        assert text_of(response) == good.answer or not video.right


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize("asked", inputs.QUESTIONS, ids=lambda asked: asked.name)
def test_questions(chat, made, asked):
    more = {"chat_template_kwargs": {"options": asked.options}} if asked.options else {}
    response = chat((made / "plain.mp4").as_uri(), asked.question, asked.max_tokens, **more)
    if error := asked.served or asked.error:
        refused(response, error, made)
    else:
        assert response.status_code == 200, response.text


@pytest.mark.parametrize("way", ["data", "http"])
def test_the_other_ways_a_video_comes(chat, made, web, good, way):
    for video in ("plain.mp4", "a.gif", "stream.ts", "noise.mp4", "list.m3u8", "empty.mp4"):
        url = data_url((made / video).read_bytes()) if way == "data" else f"{web}/{video}"
        response = chat(url)
        if video in ("noise.mp4", "list.m3u8", "empty.mp4"):
            refused(response, "the video", made)
        else:
            assert text_of(response) == good.answer


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize("case", URLS)
def test_urls(chat, made, web, case):
    refused(chat(url_of(case, web, made)), URLS[case][1], made)


def test_a_redirect_is_not_followed_where_domains_are_allowed(chat, web):
    # Even to an allowed one: vLLM does not look where it leads.
    assert chat(f"{web}/redirect?{web}/plain.mp4").status_code == 400


SETTINGS = {
    "too many frames": ({"num_frames": 10**6}, 200),
    "all frames": ({"num_frames": -1}, 200),
    "fewer frames": ({"num_frames": 8}, 200),
    "no frames": ({"num_frames": 0}, "num_frames is 0; give 1 to 16"),
    "frames in words": ({"num_frames": "many"}, "num_frames is 'many'"),
    "half a frame": ({"num_frames": 2.5}, "num_frames is 2.5"),
    "limits of one's own": ({"sfllava": {"frames": 10**6, "image_size": 10**5}}, "is the server's"),
    "another loader": ({"video_backend": "opencv", "backend": "opencv"}, 200),
    "a loader that is none": ({"video_backend": "nothing"}, 200),
    "another size": ({"image_size": 10**6}, 200),
}


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize("case", SETTINGS)
def test_settings_of_a_request(chat, made, case):
    settings, expected = SETTINGS[case]
    response = chat((made / "vp8.webm").as_uri(), media_io_kwargs={"video": settings})
    if expected != 200:
        refused(response, expected, made)
    else:
        frames = min(16, settings.get("num_frames", 16)) if settings.get("num_frames") != -1 else 16
        assert response.status_code == 200, response.text
        # 4 slow frames of 18 tokens, 4 tokens for every frame.
        plain = chat((made / "plain.mp4").as_uri()).json()["usage"]["prompt_tokens"]
        assert response.json()["usage"]["prompt_tokens"] == plain - 4 * (16 - frames)


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize("case", BODIES)
def test_bodies(server, made, case):
    headers = {"Content-Type": "application/json"}
    response = httpx.post(f"{server}/v1/chat/completions", content=BODIES[case], headers=headers, timeout=60)
    assert 400 <= response.status_code < 500, response.text
    assert "Traceback" not in response.text and str(made) not in response.text


REQUESTS = {
    "an image that is none": {"image": data_url(b"nothing", "image/png")},
    "an image of many pixels": {"image": data_url(inputs.png_header(60_000, 60_000), "image/png")},
    "nine videos": {"videos": 9},
    "half a character": {"question": "what \ud800 is it?"},
    "options of no kind": {"chat_template_kwargs": {"options": 5}},
    "too many options": {"chat_template_kwargs": {"options": ["x"] * 27}},
    "a prompt frame of no kind": {"chat_template_kwargs": {"prompt_frame": {"a": 1}}},
    "a template of one's own": {"chat_template": "{{ ''.__class__.__mro__ }}"},
    "no tokens": {"max_tokens": 0},
    "tokens in words": {"max_tokens": "many"},
    "too hot": {"temperature": 1e9},
    "many answers": {"n": 10**6},
    "many log-probabilities": {"logprobs": True, "top_logprobs": 10**6},
    "a grammar that is none": {"structured_outputs": {"regex": "(" * 1000}},
    "stop words without end": {"stop": ["x"] * 1000},
}
#: What vLLM says of fields of its own takes several lines.
IN_VLLMS_WORDS = ("tokens in words", "a grammar that is none", "stop words without end")


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize("case", REQUESTS)
def test_requests(server, made, good, case):
    more = dict(REQUESTS[case])
    url, content = (made / "plain.mp4").as_uri(), []
    if image := more.pop("image", None):
        content.append({"type": "image_url", "image_url": {"url": image}})
    content += [{"type": "video_url", "video_url": {"url": url}}] * more.pop("videos", 0 if image else 1)
    content.append({"type": "text", "text": more.pop("question", good.question)})
    body = {"model": NAME, "messages": [{"role": "user", "content": content}], "max_tokens": 8} | more
    headers = {"Content-Type": "application/json"}
    response = httpx.post(f"{server}/v1/chat/completions", content=json.dumps(body), headers=headers, timeout=120)
    refused(response, ".", made, one_line=case not in IN_VLLMS_WORDS)


def test_a_client_that_goes_away(server, made, good, chat):
    body = {"model": NAME, "messages": [{"role": "user", "content": [
        {"type": "video_url", "video_url": {"url": (made / "ten-bit.mp4").as_uri()}}, {"type": "text", "text": "what?"}
    ]}], "max_tokens": 500, "ignore_eos": True, "stream": True}  # fmt: skip
    for _ in range(20):
        with httpx.stream("POST", f"{server}/v1/chat/completions", json=body, timeout=60) as response:
            next(response.iter_lines())
    assert text_of(chat((made / "plain.mp4").as_uri())) == good.answer


def decoders_of_server():
    [server] = [child for child in psutil.Process().children() if "serve" in child.cmdline()]
    return server, processes(server.pid)


@pytest.fixture
def wrong(scratch):
    """wrong(what): from now on, every process that decodes is new, and that is wrong with it."""
    told = []

    def tell(what):
        (scratch / what).touch()
        told.append(scratch / what)
        for process in decoders_of_server()[1]:
            process.kill()

    yield tell
    for path in told:
        path.unlink()
    for process in decoders_of_server()[1]:
        process.kill()


def failed(response, status, words):
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == status and re.search(words, error["message"])
    assert ("retry-after" in response.headers) == (status == 503)


STREAMING = pytest.mark.parametrize("stream", [False, True])


@pytest.mark.usefixtures("alive")
@STREAMING
def test_a_decoder_that_does_not_start_is_503(chat, made, scratch, wrong, stream):
    wrong("does not start")
    response = chat((made / "plain.mp4").as_uri(), stream=stream)
    failed(response, 503, "cannot read videos at the moment")
    assert "import of av halted" in (scratch / "log").read_text()


@pytest.mark.usefixtures("alive")
@STREAMING
def test_a_bug_is_500(chat, made, scratch, wrong, stream):
    wrong("has a bug")
    failed(chat(data_url((made / "vp8.webm").read_bytes()), stream=stream), 500, "a fault of this server")
    assert "TypeError: <lambda>() got an unexpected keyword argument" in (scratch / "log").read_text()


@pytest.mark.usefixtures("alive")
@STREAMING
def test_too_many_open_files_is_503(server, made, scratch, stream):
    process, _ = decoders_of_server()
    content = [
        {"type": "video_url", "video_url": {"url": (made / "a.gif").as_uri()}},
        {"type": "text", "text": "what?"},
    ]
    body = {"model": NAME, "messages": [{"role": "user", "content": content}], "stream": stream}
    # Over a connection that is there: no other would be taken.
    with httpx.Client(timeout=60) as client:
        assert client.get(f"{server}/health").status_code == 200
        before = process.rlimit(psutil.RLIMIT_NOFILE)
        process.rlimit(psutil.RLIMIT_NOFILE, (3, before[1]))
        try:
            response = client.post(f"{server}/v1/chat/completions", json=body)
        finally:
            process.rlimit(psutil.RLIMIT_NOFILE, before)
    failed(response, 503, "cannot read videos at the moment")
    assert "Too many open files" in (scratch / "log").read_text()


@pytest.mark.usefixtures("alive")
@STREAMING
def test_decoders_that_are_busy_are_503(chat, made, stream):
    assert text_of(chat(data_url((made / "plain.mp4").read_bytes())))
    _, [decoder] = decoders_of_server()
    decoder.suspend()
    with ThreadPoolExecutor(2) as clients:
        videos = [data_url((made / name).read_bytes() + bytes([stream])) for name in ("plain.mp4", "hevc.mp4")]
        answers = as_completed([clients.submit(chat, url, stream=stream) for url in videos])
        # One has the one decoder, which does not go on; the other waits.
        failed(next(answers).result(), 503, "all decoders were busy for 1 seconds")
        decoder.resume()
        assert next(answers).result().status_code == 200
