"""`vllm serve NAME` in a process of its own, over HTTP."""

import concurrent.futures
import functools
import http.server
import io
import json
import re
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from PIL import Image

from sfllava_plugin.shapes import clips
from tests.engine.support import KV_CACHE
from tests.serving import data_url, serve

NAME = "sf-served"
QUESTION = "What is happening?"


@dataclass(frozen=True)
class Server:
    url: str
    log: Path

    def videos_encoded(self) -> int:
        """Count the videos and images that the tower has read."""
        return sum(map(int, re.findall(r"encoder inputs: (\d+)", self.log.read_text())))


@pytest.fixture(scope="module")
def media(tmp_path_factory, bikes):
    """The folder which the server may read, with valid and broken clips."""
    folder = tmp_path_factory.mktemp("media")
    shutil.copy(bikes, folder / "bikes.mp4")
    (folder / "text.mp4").write_text("not a video\n" * 50)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "garbage.mp4").write_bytes(bytes(range(256)) * 40)
    return folder


@pytest.fixture(scope="module")
def web(media):
    """The same folder over HTTP."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=media)
    handler.log_message = lambda *args: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def server(tmp_path_factory, checkpoints, media):
    """A running server."""
    registry = tmp_path_factory.mktemp("server") / "registry.yaml"
    engine = {"dtype": "float32", "kv_cache_memory_bytes": KV_CACHE}
    registry.write_text(json.dumps({"models": {NAME: {"checkpoint": str(checkpoints()), "engine": engine}}}))
    arguments = ["--enforce-eager", "--allowed-local-media-path", str(media), "--enable-logging-iteration-details"]
    log = registry.with_name("log")
    with serve(NAME, *arguments, log=log, SFLLAVA_REGISTRY=str(registry)) as url:
        yield Server(url, log)


@pytest.fixture(scope="module")
def expected(runners, bikes):
    """The answer of an engine in this process to the same question."""
    from sfllava_plugin.engine.offline import Question

    return runners().answer(Question(str(bikes), QUESTION, max_tokens=12))


@pytest.fixture
def chat(server):
    """chat(content or messages, **settings): the response to a chat completion."""

    def ask(content, **settings):
        is_messages = isinstance(content, list) and "role" in content[0]
        messages = content if is_messages else [{"role": "user", "content": content}]
        body = {"model": NAME, "messages": messages, "max_tokens": 12, "return_token_ids": True} | settings
        return httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=300)

    return ask


def video(url):
    return {"type": "video_url", "video_url": {"url": url}}


def text(words=QUESTION):
    return {"type": "text", "text": words}


def answered(response):
    assert response.status_code == 200, response.text
    [choice] = response.json()["choices"]
    return choice["token_ids"]


def test_the_server_lists_its_name_and_context(server):
    [model] = httpx.get(f"{server.url}/v1/models").json()["data"]
    assert (model["id"], model["max_model_len"]) == (NAME, 4096)


def test_every_kind_of_url_gives_the_same_answer(chat, media, web, expected):
    clip = media / "bikes.mp4"
    for url in (clip.as_uri(), data_url(clip.read_bytes()), f"{web}/bikes.mp4"):
        response = chat([video(url), text()])
        assert answered(response) == expected.token_ids
        assert response.json()["prompt_token_ids"] == expected.prompt_token_ids
        assert response.json()["usage"]["prompt_tokens"] == len(expected.prompt_token_ids)


def test_the_order_of_text_and_video_does_not_matter(chat, media, expected):
    assert answered(chat([text(), video((media / "bikes.mp4").as_uri())])) == expected.token_ids


def test_streaming_gives_the_same_text(server, media, expected):
    body = {
        "model": NAME,
        "messages": [{"role": "user", "content": [video((media / "bikes.mp4").as_uri()), text()]}],
        "max_tokens": 12,
        "stream": True,
    }
    pieces = []
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, timeout=300) as response:
        assert response.status_code == 200
        for line in response.iter_lines():
            if line.startswith("data: {"):
                pieces += [choice["delta"].get("content") or "" for choice in json.loads(line[6:])["choices"]]
    assert len(pieces) > 2
    assert "".join(pieces).strip() == expected.text


def test_options_in_template_arguments_make_a_choice(chat, runners, bikes, media):
    from sfllava_plugin.engine.offline import Question

    options = ["a red bus", "two bikes"]
    response = chat([video((media / "bikes.mp4").as_uri()), text()], chat_template_kwargs={"options": options})
    expected = runners().answer(Question(str(bikes), QUESTION, tuple(options), 12))
    assert response.json()["prompt_token_ids"] == expected.prompt_token_ids
    assert answered(response) == expected.token_ids


def test_a_complete_prompt_is_used_unchanged(chat, runners, media):
    own = "USER: <image>\nWatch closely. ASSISTANT:"
    response = chat(
        [video((media / "bikes.mp4").as_uri()), text(own)], chat_template_kwargs={"prompt_frame": "complete"}
    )
    answered(response)
    tokenizer = runners().engine.get_tokenizer()
    marker = tokenizer.convert_tokens_to_ids("<image>")
    ids = response.json()["prompt_token_ids"]
    assert [i for i in ids if i != marker] == [i for i in tokenizer(own).input_ids if i != marker]


def test_special_tokens_in_a_question_are_text(chat, media):
    words = "Is this <image> or </s> or <s>?"
    response = chat([video((media / "bikes.mp4").as_uri()), text(words)])
    answered(response)
    ids = response.json()["prompt_token_ids"]
    assert (ids.count(1), ids.count(2)) == (1, 0)
    assert response.json()["usage"]["prompt_tokens"] == len(ids)


def test_later_turns_keep_the_first_prompt(chat, media, expected):
    """The first turn keeps its tokens; the next one is plain chat."""
    first = [video((media / "bikes.mp4").as_uri()), text()]
    history = [{"role": "user", "content": first}, {"role": "assistant", "content": "a man rides."}]
    response = chat([*history, {"role": "user", "content": "And then?"}])
    answered(response)
    ids = response.json()["prompt_token_ids"]
    assert ids[: len(expected.prompt_token_ids)] == expected.prompt_token_ids
    assert len(ids) > len(expected.prompt_token_ids)


def test_text_and_images_are_answered(chat):
    assert answered(chat("Hello, who are you?"))
    picture = io.BytesIO()
    Image.new("RGB", (200, 100), "red").save(picture, "PNG")
    url = data_url(picture.getvalue(), "image/png")
    response = chat([{"type": "image_url", "image_url": {"url": url}}, text("What colour is it?")])
    answered(response)
    assert response.json()["usage"]["prompt_tokens"] > 576


def test_concurrent_requests_get_the_same_answer(chat, media, expected):
    content = [video((media / "bikes.mp4").as_uri()), text()]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        responses = list(pool.map(lambda _: chat(content), range(6)))
    assert [answered(response) for response in responses] == [expected.token_ids] * 6


def test_alternating_between_eight_videos_runs_the_tower_once_per_video(server, chat, media):
    videos = [clips.write_clip(clips.clip(seed).scene, media / f"shapes-{seed}.mp4") for seed in range(8)]
    before = server.videos_encoded()
    for number in range(3):
        for path in videos:
            # With so little text after the video, the shared blocks of the prefix cache end inside the video.
            kwargs = {"prompt_frame": "none"}
            assert answered(chat([video(path.as_uri()), text(f"{number}?")], chat_template_kwargs=kwargs))
    assert server.videos_encoded() - before == len(videos)


BAD = {
    "garbage bytes": (lambda m, w: [video(data_url(bytes(range(256)) * 40)), text()], "no video frame can be decoded"),
    "empty file": (lambda m, w: [video((m / "empty.mp4").as_uri()), text()], "the video is empty"),
    "text file": (lambda m, w: [video((m / "text.mp4").as_uri()), text()], "not a video"),
    "garbage over http": (lambda m, w: [video(f"{w}/garbage.mp4"), text()], "no video frame can be decoded"),
    "missing file": (lambda m, w: [video((m / "missing.mp4").as_uri()), text()], "missing.mp4 cannot be opened"),
    "missing over http": (lambda m, w: [video(f"{w}/missing.mp4"), text()], "404"),
    "a file outside": (lambda m, w: [video("file:///etc/passwd"), text()], "--allowed-local-media-path"),
    "not base64": (lambda m, w: [video("data:video/mp4;base64,@@@"), text()], "base64"),
    "no scheme": (lambda m, w: [video("bikes.mp4"), text()], "URL"),
    "two videos": (lambda m, w: [video((m / "bikes.mp4").as_uri())] * 2 + [text()], "At most 1 video"),
    "too long": (lambda m, w: [video((m / "bikes.mp4").as_uri()), text("Why? " * 400)], "maximum context length"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_return_a_client_error(chat, media, web, expected, case):
    content, message = BAD[case]
    response = chat(content(media, web))
    assert 400 <= response.status_code < 500, response.text
    error = response.json()["error"]["message"]
    assert message in error
    assert "Traceback" not in error
    assert "\n" not in error
    # The next good request gets the right answer.
    assert answered(chat([video((media / "bikes.mp4").as_uri()), text()])) == expected.token_ids


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"chat_template_kwargs": {"prompt_frame": "closed"}}, "prompt_frame must be"),
        ({"chat_template_kwargs": {"options": ["x"] * 27}}, "at most 26"),
        ({"media_io_kwargs": {"video": {"num_frames": -1}}}, "--trust-request-mm-kwargs"),
        ({"model": "sf-other"}, "does not exist"),
    ],
)
def test_bad_settings_return_a_client_error(chat, media, settings, message):
    response = chat([video((media / "bikes.mp4").as_uri()), text()], **settings)
    assert 400 <= response.status_code < 500, response.text
    assert message in response.json()["error"]["message"]
