"""The order in which questions reach the engine: video after video, each question once."""

import pytest

from sfllava_plugin.engine.ready import ReadyQuestions
from sfllava_plugin.frames import VideoError

#: (video, is multiple choice)
QUESTIONS = [("a", True), ("b", False), ("a", False), ("c", True), ("b", False), ("a", True)]


def taken(questions, read=lambda path: f"frames of {path}"):
    with ReadyQuestions(questions, lambda q: q[0], lambda q: q[1], read) as ready:
        found = []
        while ready:
            found.append(ready.take())
        return found


def test_video_after_video_and_alike_prompts_together():
    order = [(one.position, one.question) for one in taken(QUESTIONS)]
    assert order == [
        (2, ("a", False)),
        (0, ("a", True)),
        (5, ("a", True)),
        (1, ("b", False)),
        (4, ("b", False)),
        (3, ("c", True)),
    ]


def test_each_video_is_read_once():
    read = []
    taken(QUESTIONS, read.append)
    assert sorted(read) == ["a", "b", "c"]


def test_a_broken_video_fails_its_own_questions():
    def read(path):
        if path == "b":
            raise VideoError("b is broken")
        return path

    for one in taken(QUESTIONS, read):
        assert (one.error is not None) == (one.question[0] == "b")
        assert one.video == (None if one.error else one.question[0])


def test_it_says_when_a_video_begins_and_when_there_is_nothing_left():
    with ReadyQuestions(QUESTIONS[:3], lambda q: q[0], lambda q: q[1], str) as ready:
        begins = []
        while ready:
            begins.append(ready.begins_video)
            ready.take()
    assert begins == [True, False, True]


def test_a_job_of_many_broken_videos_comes_through():
    def missing(path):
        raise VideoError(f"{path} does not exist")

    questions = [(str(number % 2_000), False) for number in range(10_000)]
    found = taken(questions, missing)
    assert sorted(one.position for one in found) == list(range(10_000))
    assert all(isinstance(one.error, VideoError) for one in found)


def test_no_questions_are_no_job():
    assert taken([]) == []


def test_an_interrupt_in_a_decoder_is_not_a_videos_error():
    def stopped(path):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        taken(QUESTIONS, stopped)
