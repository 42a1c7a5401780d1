"""The order in which questions reach the engine: video after video, each question once."""

import pytest

from sfllava_plugin.engine.ready import ReadyQuestions
from sfllava_plugin.frames import VideoError

#: (video, is multiple choice)
QUESTIONS = [("a", True), ("b", False), ("a", False), ("c", True), ("b", False), ("a", True)]


def taken(questions, read=lambda path: f"frames of {path}"):
    """All questions in the order in which they come where each is read at once."""
    with ReadyQuestions(questions, lambda q: q[0], lambda q: q[1], read) as ready:
        found = []
        while ready:
            found.append(ready.take())
            ready.follow(found[-1].position)
        return found


def test_video_after_video_and_those_that_lead_first():
    order = [(one.position, one.question, one.leads) for one in taken(QUESTIONS)]
    assert order == [
        (2, ("a", False), True),
        (0, ("a", True), True),
        (5, ("a", True), False),
        (1, ("b", False), True),
        (4, ("b", False), False),
        (3, ("c", True), True),
    ]


def test_followers_wait_until_the_first_was_read():
    with ReadyQuestions(QUESTIONS, lambda q: q[0], lambda q: q[1], str) as ready:
        leaders = []
        while ready:
            leaders.append(ready.take().position)
        assert leaders == [2, 0, 1, 3]
        ready.follow(1)
        assert ready.take().position == 4
        assert not ready


def test_where_the_first_cannot_be_asked_the_next_leads():
    questions = [("a", False)] * 3
    with ReadyQuestions(questions, lambda q: q[0], lambda q: q[1], str) as ready:
        ready.pass_lead(ready.take().position)
        second = ready.take()
        assert (second.position, second.leads) == (1, True)
        assert not ready
        ready.follow(1)
        assert not ready.take().leads


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
            ready.follow(ready.take().position)
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
