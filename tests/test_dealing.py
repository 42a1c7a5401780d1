"""Questions of several processes dealt by video, and the accelerators of one engine. No engine, no exchange."""

import pytest

from sfllava_plugin.engine.devices import devices_of
from sfllava_plugin.engine.questions import Question
from sfllava_plugin.evaluation.dealing import Dealt, deal


def shares(videos: str, processes: int) -> list[list[Dealt]]:
    """Questions as lmms-eval deals them, one after the other."""
    dealt = [
        Dealt(number % processes, number // processes, Question(video, "?"), None)
        for number, video in enumerate(videos)
    ]
    return [dealt[rank::processes] for rank in range(processes)]


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_a_video_goes_to_one_process(processes):
    given = shares("aabbbbccddddefgg", processes)
    found = deal(given)
    videos = [{dealt.question.video for dealt in share} for share in found]
    assert sum(map(len, videos)) == len("abcdefg")
    assert sorted(dealt.position for share in found for dealt in share) == sorted(
        dealt.position for share in given for dealt in share
    )
    assert max(map(len, found)) - min(map(len, found)) <= 1


def test_one_video_leaves_the_other_processes_nothing():
    assert [len(share) for share in deal(shares("aaaa", 3))] == [4, 0, 0]


def test_an_engine_spreads_over_every_kind_of_parallelism():
    assert devices_of({}) == 1
    assert (
        devices_of({"tensor_parallel_size": 2, "pipeline_parallel_size": 3, "prefill_context_parallel_size": 2}) == 12
    )
    assert devices_of({"tensor_parallel_size": None, "data_parallel_size": 4}) == 1
