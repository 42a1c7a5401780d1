"""Damaged videos, the same ones every time: each is read or refused, and what fuzz.py found stays found."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from sfllava_plugin.video import isolated
from tests.faults.fuzz import CLIPS, damaged, outcome, whole

#: (clip, number of the damage): once an unexpected error, as the codec's name was damaged.
FINDINGS = [("carphone_distorted.mp4", 3), ("carphone_pristine.mp4", 37), ("carphone_distorted.mp4", 42)]


@pytest.mark.parametrize(("clip", "number"), FINDINGS)
def test_findings(clip, number):
    assert outcome(clip, number) == "refused"


def test_damaged_videos_are_read_or_refused():
    asked = [(clip, number) for number in range(1_000_000, 1_000_200) for clip in CLIPS[:2]]
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda one: outcome(*one), asked))
    assert {one: found for one, found in zip(asked, outcomes, strict=True) if found not in ("read", "refused")} == {}
    # The damage is neither none nor total.
    assert 50 < outcomes.count("read") < len(asked) - 50
    for clip in CLIPS:
        after = isolated.read_video(whole(clip), num_frames=8, image_size=32)
        assert after.total_frames > 100


def test_the_same_damage_every_time():
    assert damaged(CLIPS[0], 5) == damaged(CLIPS[0], 5) != damaged(CLIPS[0], 6)
