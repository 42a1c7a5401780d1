"""Slots: how many, for whom, and how long attempts wait for them."""

import threading
from contextlib import ExitStack

import pytest

from sfllava_plugin.video.errors import DecodersBusy
from sfllava_plugin.video.isolation.scheduler import Attempt, Scheduler

QUICK = Attempt(slots=3, seconds=1, wait=0.05)
SLOW = Attempt(slots=3, seconds=1, wait=0.05, is_slow=True)


def never() -> bool:
    return False


def test_no_more_attempts_at_once_than_slots():
    scheduler = Scheduler()
    with ExitStack() as held:
        for _ in range(3):
            held.enter_context(scheduler.slot(QUICK, never))
        with pytest.raises(DecodersBusy, match=r"busy for 0.05 seconds; try again later"), scheduler.slot(QUICK, never):
            pass
    with scheduler.slot(QUICK, never):
        pass


def test_slow_videos_leave_one_slot_free():
    scheduler = Scheduler()
    with scheduler.slot(SLOW, never), scheduler.slot(SLOW, never):
        with pytest.raises(DecodersBusy), scheduler.slot(SLOW, never):
            pass
        with scheduler.slot(QUICK, never):
            pass


def test_a_slow_video_may_take_the_only_slot():
    scheduler = Scheduler()
    with scheduler.slot(Attempt(slots=1, seconds=1, is_slow=True), never):
        pass


def test_a_cancelled_attempt_stops_waiting():
    scheduler, cancelled, done = Scheduler(), threading.Event(), []
    one_slot = Attempt(slots=1, seconds=1)

    def wait() -> None:
        with scheduler.slot(one_slot, cancelled.is_set):
            done.append(cancelled.is_set())

    with scheduler.slot(one_slot, never):
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not done
        cancelled.set()
        scheduler.wake()
        waiting.join(60)
        assert done == [True]
