"""Questions reach the engine once each, grouped by video."""

import pytest

from sfllava_plugin.engine.offline.order import FailedItem, QuestionQueue, QueueItem, by_video
from sfllava_plugin.limits import DEFAULTS
from sfllava_plugin.video.errors import VideoError

#: (video, prefix of the prompt)
QUESTIONS = [("a", "choice"), ("b", "open"), ("a", "open"), ("c", "choice"), ("b", "open"), ("a", "choice")]


class Planner:
    """A planner whose questions are their own prompts."""

    def __init__(self, read=lambda path: f"frames of {path}", short=()):
        self.read, self._short = read, short

    def prompt(self, question):
        if question[1] == "too long":
            raise ValueError("too long")
        return question

    def prefix(self, prompt):
        return prompt[1]

    def needs_embeddings(self, video, prompts):
        return prompts[0][0] in self._short


def queue_of(questions, planner=None):
    return QuestionQueue(by_video(questions, video_of), video_of, planner or Planner())


def video_of(question):
    return question[0]


def popped(questions, planner=None):
    """All questions in order, with each leader's followers released at once."""
    with queue_of(questions, planner) as queue:
        found = []
        while queue:
            found.append(queue.pop())
            queue.release_followers(found[-1].position)
        return found


def test_questions_are_grouped_by_video_and_leaders_come_first():
    order = [(one.position, one.question, one.leads) for one in popped(QUESTIONS)]
    assert order == [
        (0, ("a", "choice"), True),
        (5, ("a", "choice"), False),
        (2, ("a", "open"), True),
        (1, ("b", "open"), True),
        (4, ("b", "open"), False),
        (3, ("c", "choice"), True),
    ]


def test_followers_wait_until_their_leader_is_read():
    with queue_of(QUESTIONS) as queue:
        leaders = []
        while queue:
            leaders.append(queue.pop().position)
        assert leaders == [0, 2, 1, 3]
        queue.release_followers(1)
        assert queue.pop().position == 4
        assert not queue


def test_the_next_follower_leads_if_the_leader_fails():
    questions = [("a", "open")] * 3
    with queue_of(questions) as queue:
        queue.promote_next(queue.pop().position)
        second = queue.pop()
        assert (second.position, second.leads) == (1, True)
        assert not queue
        queue.release_followers(1)
        assert not queue.pop().leads


def test_each_video_is_read_once():
    read = []
    popped(QUESTIONS, Planner(read.append))
    assert sorted(read) == ["a", "b", "c"]


def test_a_broken_video_fails_its_own_questions():
    def read(path):
        if path == "b":
            raise VideoError("b is broken")
        return path

    for one in popped(QUESTIONS, Planner(read)):
        if one.question[0] == "b":
            assert isinstance(one, FailedItem) and isinstance(one.error, VideoError)
        else:
            assert one.video == one.question[0]


def test_the_first_question_on_a_video_begins_it():
    with queue_of(QUESTIONS[:3]) as queue:
        begins = []
        while queue:
            begins.append(queue.begins_video)
            queue.release_followers(queue.pop().position)
    assert begins == [True, False, True]


def test_next_leads_is_false_while_followers_are_released():
    with queue_of([("a", "open"), ("a", "choice"), ("a", "open")]) as queue:
        first = queue.pop()
        assert (queue.begins_video, queue.next_leads) == (False, True)
        queue.release_followers(first.position)
        assert not queue.next_leads
        assert [queue.pop().position, queue.pop().position] == [2, 1]


def test_a_job_of_many_broken_videos_finishes():
    def missing(path):
        raise VideoError(f"{path} does not exist")

    questions = [(str(number % 2_000), "open") for number in range(10_000)]
    found = popped(questions, Planner(missing))
    assert sorted(one.position for one in found) == list(range(10_000))
    assert all(isinstance(one.error, VideoError) for one in found)


def test_a_job_without_questions_is_empty():
    assert popped([]) == []


def test_an_interrupt_in_a_decoder_is_raised():
    def interrupted(path):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        popped(QUESTIONS, Planner(interrupted))


def test_an_invalid_question_fails_alone_and_does_not_lead():
    found = popped([("a", "too long"), ("a", "open"), ("a", "open")])
    assert [(one.position, type(one)) for one in found] == [(0, FailedItem), (1, QueueItem), (2, QueueItem)]
    assert str(found[0].error) == "too long"
    assert [one.leads for one in found[1:]] == [True, False]


def test_embeddings_are_needed_again_by_a_second_leader_or_after_a_short_prefix():
    questions = [("a", "open"), ("a", "open"), ("b", "open"), ("b", "choice"), ("c", "open"), ("c", "open")]
    needed = {one.position: one.needs_embeddings for one in popped(questions, Planner(short="c"))}
    assert needed == {0: False, 1: False, 2: True, 3: True, 4: True, 5: True}


def test_groups_are_consumed_lazily():
    """Replicas share the groups; each takes only what it prefetches."""
    drawn = []

    def groups():
        for number in range(50):
            drawn.append(number)
            yield [(number, (f"{number}.mp4", "open"))]

    with QuestionQueue(groups(), video_of, Planner()) as queue:
        order = []
        while queue:
            order.append(queue.pop().position)
            assert len(drawn) <= len(order) + DEFAULTS.look_ahead
    assert order == list(range(50))
