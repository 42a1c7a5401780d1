"""Turns at decoding: how many at once, who is refused, and what slow videos leave to the others."""

import threading
from contextlib import ExitStack

import pytest

from sfllava_plugin.video.errors import DecodersBusy
from sfllava_plugin.video.isolation.scheduler import Turn, Turns

QUICK = Turn(places=3, seconds=1, wait=0.05)
SLOW = Turn(places=3, seconds=1, wait=0.05, is_slow=True)


def wanted() -> bool:
    return True


def test_as_many_at_once_as_there_are_places():
    turns = Turns()
    with ExitStack() as taken:
        for _ in range(3):
            taken.enter_context(turns.take(QUICK, wanted))
        with pytest.raises(DecodersBusy, match=r"busy for 0.05 seconds; try again later"), turns.take(QUICK, wanted):
            pass
    with turns.take(QUICK, wanted):
        pass


def test_slow_ones_leave_a_place():
    turns = Turns()
    with turns.take(SLOW, wanted), turns.take(SLOW, wanted):
        with pytest.raises(DecodersBusy), turns.take(SLOW, wanted):
            pass
        with turns.take(QUICK, wanted):
            pass


def test_one_place_is_enough_for_a_slow_one():
    turns = Turns()
    with turns.take(Turn(places=1, seconds=1, is_slow=True), wanted):
        pass


def test_who_may_wait_waits_and_who_is_unwanted_does_not():
    turns, is_wanted, done = Turns(), threading.Event(), []
    is_wanted.set()
    one_place = Turn(places=1, seconds=1)

    def wait() -> None:
        with turns.take(one_place, is_wanted.is_set):
            done.append(is_wanted.is_set())

    with turns.take(one_place, wanted):
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not done
        is_wanted.clear()
        turns.look_again()
        waiting.join(60)
        assert done == [False]
