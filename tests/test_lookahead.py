"""Decoding ahead: in order, bounded, each once."""

import threading
import time

from sfllava_plugin.engine.lookahead import Lookahead
from sfllava_plugin.frames import VideoError
from sfllava_plugin.limits import Limits

AHEAD = Limits().look_ahead


def test_videos_come_in_order_and_once():
    read = []

    def slow_first(path):
        time.sleep(0.05 if path == "0" else 0)
        read.append(path)
        return f"frames of {path}"

    paths = [str(number) for number in range(20)]
    with Lookahead(paths, slow_first) as videos:
        found = [(decoded.number, decoded.video) for decoded in videos]
    assert found == [(number, f"frames of {number}") for number in range(20)]
    assert sorted(read) == sorted(paths)


def test_no_more_are_held_than_said():
    started = []
    with Lookahead([str(number) for number in range(50)], started.append) as videos:
        next(videos)
        time.sleep(0.1)
        assert len(started) <= AHEAD + 1


def test_an_error_is_that_videos_own():
    def read(path):
        if path == "bad":
            raise VideoError("bad is broken")
        return path

    with Lookahead(["good", "bad", "fine"], read) as videos:
        good, bad, fine = videos
    assert (good.video, fine.video) == ("good", "fine")
    assert bad.video is None
    assert str(bad.error) == "bad is broken"


def test_leaving_early_reads_no_further():
    release, started = threading.Event(), []

    def read(path):
        started.append(path)
        release.wait(5)

    with Lookahead([str(number) for number in range(50)], read):
        release.set()
    assert len(started) <= AHEAD
