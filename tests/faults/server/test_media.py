"""Videos, questions and URLs of every kind.

Each bad one is a 4xx with a one-line message, and the server keeps working.
"""

import pytest

from tests.faults import inputs
from tests.faults.requests import URLS, url_of
from tests.faults.server.support import check_refused, text_of
from tests.serving import data_url

pytestmark = pytest.mark.server


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize("video", inputs.VIDEOS, ids=lambda video: ascii(video.name)[:40])
def test_videos(chat, made, good, video):
    response = chat((made / video.name).as_uri())
    if error := video.served or video.error:
        check_refused(response, error, made)
    else:
        assert text_of(response) == good.answer or not video.right


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize("asked", inputs.QUESTIONS, ids=lambda asked: asked.name)
def test_questions(chat, made, asked):
    more = {"chat_template_kwargs": {"options": asked.options}} if asked.options else {}
    response = chat((made / "plain.mp4").as_uri(), asked.question, asked.max_tokens, **more)
    if error := asked.served or asked.error:
        check_refused(response, error, made)
    else:
        assert response.status_code == 200, response.text


@pytest.mark.parametrize("way", ["data", "http"])
def test_videos_in_data_urls_and_over_http(chat, made, web, good, way):
    for video in ("plain.mp4", "a.gif", "stream.ts", "noise.mp4", "list.m3u8", "empty.mp4"):
        url = data_url((made / video).read_bytes()) if way == "data" else f"{web}/{video}"
        response = chat(url)
        if video in ("noise.mp4", "list.m3u8", "empty.mp4"):
            check_refused(response, "the video", made)
        else:
            assert text_of(response) == good.answer


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize("case", URLS)
def test_bad_urls(chat, made, web, case):
    check_refused(chat(url_of(case, web, made)), URLS[case][1], made)


def test_no_redirect_is_followed_if_domains_are_restricted(chat, web):
    # Not even to an allowed domain, because vLLM does not check the target.
    assert chat(f"{web}/redirect?{web}/plain.mp4").status_code == 400
