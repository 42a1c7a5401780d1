"""sample_indices against the released program."""

import json
from pathlib import Path

import pytest

from sfllava_plugin.video.errors import VideoError
from sfllava_plugin.video.sampling import sample_indices
from tests.reference_family import frames
from tests.reference_methods import ig_vlm

INDICES = json.loads((Path(__file__).parents[1] / "data" / "indices.json").read_text())["frame_indices"]


@pytest.mark.parametrize("key", INDICES)
def test_sample_indices_match_the_released_program(key):
    total, wanted = map(int, key.split(","))
    assert sample_indices(total, wanted) == INDICES[key]


def test_sample_indices_are_plain_ints_and_may_repeat():
    assert sample_indices(2, 50) == [0, 0]
    assert all(type(i) is int for i in sample_indices(300, 50))


@pytest.mark.parametrize(("total", "wanted"), [(0, 8), (8, 0), (-1, 8)])
def test_sample_indices_refuse_numbers_below_one(total, wanted):
    with pytest.raises(VideoError, match="1 or more"):
        sample_indices(total, wanted)


@pytest.mark.parametrize("wanted", [1, 4, 16])
def test_segments_are_those_of_pllava(wanted):
    for total in (1, 2, 7, 11, 16, 33, 250, 9001):
        found = sample_indices(total, wanted, "segments")
        assert found == frames.pllava(total, wanted)
        assert len(found) == wanted and all(type(i) is int for i in found)


TOTALS = (1, 2, 3, 7, 11, 16, 33, 64, 100, 101, 250, 1891, 9001, 107_892)


@pytest.mark.parametrize("wanted", [1, 2, 8, 32, 64, 128])
def test_linspace_is_that_of_the_llava_next_programs(wanted):
    for total in TOTALS:
        found = sample_indices(total, wanted, "linspace")
        assert found == frames.linspace(total, wanted)
        assert len(found) == wanted and all(type(i) is int for i in found)
        assert (found[0], found[-1]) == (0, total - 1 if wanted > 1 else 0)


@pytest.mark.parametrize("fps", [25.0, 29.97, 23.976, 2.5, 1.0, 0.4])
def test_one_frame_a_second_is_that_of_llava_video(fps):
    for total in TOTALS:
        for wanted in (1, 8, 64):
            assert sample_indices(total, wanted, "second", fps) == frames.each_second(total, wanted, fps)


def test_without_a_rate_a_second_is_unknown():
    assert sample_indices(100, 4, "second") == frames.linspace(100, 4)


VECTORS = json.loads((Path(__file__).parents[1] / "data" / "methods.json").read_text())["sampling"]


@pytest.mark.parametrize("sampling", VECTORS)
def test_the_published_indices_of_other_methods(sampling):
    for wanted, totals in VECTORS[sampling].items():
        for total, indices in totals.items():
            assert sample_indices(int(total), int(wanted), sampling)[: len(indices)] == indices


@pytest.mark.parametrize("wanted", [1, 4, 6])
def test_steps_are_those_of_ig_vlm(wanted):
    for total in TOTALS:
        found = sample_indices(total, wanted, "step")
        assert found == ig_vlm.step(total, wanted)
        assert len(found) == wanted and found[-1] < total


def test_more_seconds_than_frames_are_spread_over_the_video():
    """LLaVA-NeXT takes a frame a second, and evenly spaced ones of a video longer than 32 seconds."""
    assert sample_indices(33 * 30, 32, "second", 29.97) == frames.linspace(33 * 30, 32)
    assert sample_indices(32 * 30, 32, "second", 29.97) == list(range(0, 32 * 30, 30))
