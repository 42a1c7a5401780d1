"""The order in which questions reach the engine: video after video, each question once."""

import pytest

from sfllava_plugin.engine.offline.order import ReadyQuestions, by_video
from sfllava_plugin.limits import DEFAULTS
from sfllava_plugin.video.errors import VideoError

#: (video, beginning of the prompt)
QUESTIONS = [("a", "choice"), ("b", "open"), ("a", "open"), ("c", "choice"), ("b", "open"), ("a", "choice")]


class Plan:
    """Questions are their own prompts."""

    def __init__(self, read=lambda path: f"frames of {path}", short=()):
        self.read, self._short = read, short

    def prompt(self, question):
        if question[1] == "too long":
            raise ValueError("too long")
        return question

    def beginning(self, prompt):
        return prompt[1]

    def needs_embeddings(self, video, prompts):
        return prompts[0][0] in self._short


def ready_questions(questions, plan=None):
    return ReadyQuestions(by_video(questions, video_of), video_of, plan or Plan())


def video_of(question):
    return question[0]


def taken(questions, plan=None):
    """All questions in the order in which they come if each is read at once."""
    with ready_questions(questions, plan) as ready:
        found = []
        while ready:
            found.append(ready.pop())
            ready.release_followers(found[-1].position)
        return found


def test_video_after_video_and_those_that_lead_first():
    order = [(one.position, one.question, one.leads) for one in taken(QUESTIONS)]
    assert order == [
        (0, ("a", "choice"), True),
        (5, ("a", "choice"), False),
        (2, ("a", "open"), True),
        (1, ("b", "open"), True),
        (4, ("b", "open"), False),
        (3, ("c", "choice"), True),
    ]


def test_followers_wait_until_the_first_was_read():
    with ready_questions(QUESTIONS) as ready:
        leaders = []
        while ready:
            leaders.append(ready.pop().position)
        assert leaders == [0, 2, 1, 3]
        ready.release_followers(1)
        assert ready.pop().position == 4
        assert not ready


def test_where_the_first_cannot_be_asked_the_next_leads():
    questions = [("a", "open")] * 3
    with ready_questions(questions) as ready:
        ready.promote_next(ready.pop().position)
        second = ready.pop()
        assert (second.position, second.leads) == (1, True)
        assert not ready
        ready.release_followers(1)
        assert not ready.pop().leads


def test_each_video_is_read_once():
    read = []
    taken(QUESTIONS, Plan(read.append))
    assert sorted(read) == ["a", "b", "c"]


def test_a_broken_video_fails_its_own_questions():
    def read(path):
        if path == "b":
            raise VideoError("b is broken")
        return path

    for one in taken(QUESTIONS, Plan(read)):
        assert (one.error is not None) == (one.question[0] == "b")
        assert one.video == (None if one.error else one.question[0])


def test_it_says_when_a_video_begins_and_when_there_is_nothing_left():
    with ready_questions(QUESTIONS[:3]) as ready:
        begins = []
        while ready:
            begins.append(ready.begins_video)
            ready.release_followers(ready.pop().position)
    assert begins == [True, False, True]


def test_it_says_whether_the_next_question_leads():
    with ready_questions([("a", "open"), ("a", "choice"), ("a", "open")]) as ready:
        first = ready.pop()
        assert (ready.begins_video, ready.next_leads) == (False, True)
        ready.release_followers(first.position)
        assert not ready.next_leads
        assert [ready.pop().position, ready.pop().position] == [2, 1]


def test_a_job_of_many_broken_videos_comes_through():
    def missing(path):
        raise VideoError(f"{path} does not exist")

    questions = [(str(number % 2_000), "open") for number in range(10_000)]
    found = taken(questions, Plan(missing))
    assert sorted(one.position for one in found) == list(range(10_000))
    assert all(isinstance(one.error, VideoError) for one in found)


def test_no_questions_are_no_job():
    assert taken([]) == []


def test_an_interrupt_in_a_decoder_is_not_a_videos_error():
    def stopped(path):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        taken(QUESTIONS, Plan(stopped))


def test_a_question_that_cannot_be_asked_fails_alone_and_does_not_lead():
    found = taken([("a", "too long"), ("a", "open"), ("a", "open")])
    assert [(one.position, one.leads, str(one.error or "")) for one in found] == [
        (0, False, "too long"),
        (1, True, ""),
        (2, False, ""),
    ]


def test_embeddings_are_needed_again_by_a_second_leader_or_behind_a_short_prefix():
    questions = [("a", "open"), ("a", "open"), ("b", "open"), ("b", "choice"), ("c", "open"), ("c", "open")]
    needed = {one.position: one.needs_embeddings for one in taken(questions, Plan(short="c"))}
    assert needed == {0: False, 1: False, 2: True, 3: True, 4: True, 5: True}


def test_videos_are_drawn_as_they_are_needed():
    """Of a job that others share, no more is taken than is decoded ahead."""
    drawn = []

    def groups():
        for number in range(50):
            drawn.append(number)
            yield [(number, (f"{number}.mp4", "open"))]

    with ReadyQuestions(groups(), video_of, Plan()) as ready:
        order = []
        while ready:
            order.append(ready.pop().position)
            assert len(drawn) <= len(order) + DEFAULTS.look_ahead
    assert order == list(range(50))
