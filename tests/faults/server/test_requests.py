"""Bad requests about a good video.

Each is a 4xx with a one-line message, and the server keeps working.
"""

import httpx
import pytest

from tests.faults.requests import BODIES, NAME
from tests.faults.server.support import check_refused, text_of
from tests.faults.writers import png_header
from tests.serving import data_url

pytestmark = pytest.mark.server

#: media_io_kwargs of the video, and the expected status or error.
SETTINGS = {
    "too many frames": ({"num_frames": 10**6}, 200),
    "all frames": ({"num_frames": -1}, 200),
    "fewer frames": ({"num_frames": 8}, 200),
    "no frames": ({"num_frames": 0}, "num_frames is 0; give 1 to 16"),
    "frames in words": ({"num_frames": "many"}, "num_frames is 'many'"),
    "half a frame": ({"num_frames": 2.5}, "num_frames is 2.5"),
    "its own limits": ({"sfllava": {"frames": 10**6, "image_size": 10**5}}, "is reserved for the server"),
    "another loader": ({"video_backend": "opencv", "backend": "opencv"}, 200),
    "an unknown loader": ({"video_backend": "nothing"}, 200),
    "another size": ({"image_size": 10**6}, 200),
}


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize("case", SETTINGS)
def test_video_settings(chat, made, case):
    settings, expected = SETTINGS[case]
    response = chat((made / "vp8.webm").as_uri(), media_io_kwargs={"video": settings})
    if expected != 200:
        check_refused(response, expected, made)
    else:
        frames = min(16, settings.get("num_frames", 16)) if settings.get("num_frames") != -1 else 16
        assert response.status_code == 200, response.text
        # 4 slow frames of 18 tokens, 4 tokens for every frame.
        plain = chat((made / "plain.mp4").as_uri()).json()["usage"]["prompt_tokens"]
        assert response.json()["usage"]["prompt_tokens"] == plain - 4 * (16 - frames)


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize("case", BODIES)
def test_bad_bodies(post, made, case):
    response = post(BODIES[case])
    assert 400 <= response.status_code < 500, response.text
    assert "Traceback" not in response.text and str(made) not in response.text


#: Changes to a good request.
REQUESTS = {
    "not an image": {"image": data_url(b"nothing", "image/png")},
    "an image of many pixels": {"image": data_url(png_header(60_000, 60_000), "image/png")},
    "nine videos": {"videos": 9},
    "half a character": {"question": "what \ud800 is it?"},
    "options of a wrong type": {"chat_template_kwargs": {"options": 5}},
    "too many options": {"chat_template_kwargs": {"options": ["x"] * 27}},
    "a prompt frame of a wrong type": {"chat_template_kwargs": {"prompt_frame": {"a": 1}}},
    "its own template": {"chat_template": "{{ ''.__class__.__mro__ }}"},
    "no tokens": {"max_tokens": 0},
    "tokens in words": {"max_tokens": "many"},
    "too hot": {"temperature": 1e9},
    "many answers": {"n": 10**6},
    "many log-probabilities": {"logprobs": True, "top_logprobs": 10**6},
    "an invalid grammar": {"structured_outputs": {"regex": "(" * 1000}},
    "a thousand stop words": {"stop": ["x"] * 1000},
}
#: Errors of vLLM's own, which take several lines.
VLLM_ERRORS = ("tokens in words", "an invalid grammar", "a thousand stop words")


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize("case", REQUESTS)
def test_bad_requests(post, made, good, case):
    more = dict(REQUESTS[case])
    url, content = (made / "plain.mp4").as_uri(), []
    if image := more.pop("image", None):
        content.append({"type": "image_url", "image_url": {"url": image}})
    content += [{"type": "video_url", "video_url": {"url": url}}] * more.pop("videos", 0 if image else 1)
    content.append({"type": "text", "text": more.pop("question", good.question)})
    body = {"model": NAME, "messages": [{"role": "user", "content": content}], "max_tokens": 8} | more
    response = post(body)
    check_refused(response, ".", made, one_line=case not in VLLM_ERRORS)


def test_clients_that_disconnect(server, made, good, chat):
    body = {"model": NAME, "messages": [{"role": "user", "content": [
        {"type": "video_url", "video_url": {"url": (made / "ten-bit.mp4").as_uri()}}, {"type": "text", "text": "what?"}
    ]}], "max_tokens": 500, "ignore_eos": True, "stream": True}  # fmt: skip
    for _ in range(20):
        with httpx.stream("POST", f"{server}/v1/chat/completions", json=body, timeout=60) as response:
            next(response.iter_lines())
    assert text_of(chat((made / "plain.mp4").as_uri())) == good.answer
