"""Damaged videos, the same every time: each is read or refused."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from sfllava_plugin.video import isolated
from tests.faults.fuzz import CLIPS, damaged, outcome, whole

#: (clip, number of the damage). A damaged codec name used to cause an unexpected error.
FINDINGS = [("carphone_distorted.mp4", 3), ("carphone_pristine.mp4", 37), ("carphone_distorted.mp4", 42)]


@pytest.mark.parametrize(("clip", "number"), FINDINGS)
def test_earlier_findings(clip, number):
    assert outcome(clip, number) == "refused"


def test_damaged_videos_are_read_or_refused():
    asked = [(clip, number) for number in range(1_000_000, 1_000_200) for clip in CLIPS[:2]]
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda one: outcome(*one), asked))
    assert {one: found for one, found in zip(asked, outcomes, strict=True) if found not in ("read", "refused")} == {}
    # The damage is neither negligible nor total.
    assert 50 < outcomes.count("read") < len(asked) - 50
    for clip in CLIPS:
        after = isolated.read_video(whole(clip), num_frames=8, image_size=32)
        assert after.total_frames > 100


def test_the_damage_is_reproducible():
    assert damaged(CLIPS[0], 5) == damaged(CLIPS[0], 5) != damaged(CLIPS[0], 6)
