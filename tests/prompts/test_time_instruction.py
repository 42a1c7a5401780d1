"""LLaVA-Video's time instruction against the reference of the family."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfllava_plugin.prompts.time_instruction import longest_instruction, time_instruction
from sfllava_plugin.video.sampling import sample_indices
from tests.reference_family import frames
from tests.reference_family import time_instruction as reference

SAMPLINGS = ["middles", "linspace", "second", "segments"]
RATES = st.sampled_from([25.0, 30.0, 30000 / 1001, 24000 / 1001, 59.94, 12.5, 1.0, 0.4]) | st.floats(0.01, 240)


@given(total=st.integers(1, 20_000), wanted=st.integers(1, 128), fps=RATES)
def test_frames_spread_evenly(total, wanted, fps):
    indices = sample_indices(total, wanted, "linspace")
    expected = reference.for_video(total, fps, frames.linspace(total, wanted), uniform=True)
    assert time_instruction(total, fps, indices) == expected


@given(total=st.integers(1, 20_000), wanted=st.integers(1, 128), fps=RATES)
def test_one_frame_a_second(total, wanted, fps):
    indices, expected = sample_indices(total, wanted, "second", fps), frames.each_second(total, wanted, fps)
    assert indices == expected
    uniform = len(range(0, total, frames.second_step(fps))) > wanted
    assert time_instruction(total, fps, indices, by_second=True) == reference.for_video(
        total, fps, expected, uniform=uniform
    )


def test_frames_that_happen_to_be_a_second_apart():
    """At 29.97 frames a second, whole seconds drift from the true times."""
    indices = sample_indices(3001, 101, "linspace")
    assert indices == sample_indices(3001, 101, "second", 29.97) == list(range(0, 3001, 30))
    assert "99.10s,100.10s." in time_instruction(3001, 29.97, indices)
    assert "99.00s,100.00s." in time_instruction(3001, 29.97, indices, by_second=True)


def test_the_trained_sentence():
    assert time_instruction(100, 29.97, [0, 49, 99]) == (
        "The video lasts for 3.34 seconds, and 3 frames are uniformly sampled from it. These frames are located at "
        "0.00s,1.63s,3.30s.Please answer the following questions related to this video."
    )


@pytest.mark.parametrize("fps", [0.0, -1.0])
def test_no_instruction_without_a_rate(fps):
    """A folder of frames has none."""
    assert time_instruction(100, fps, [0, 50, 99]) == ""


def test_no_instruction_without_frames():
    assert time_instruction(100, 25.0, []) == ""


@given(total=st.integers(1, 500_000), wanted=st.integers(1, 128), fps=RATES, sampling=st.sampled_from(SAMPLINGS))
def test_the_longest_is_no_shorter_than_any(total, wanted, fps, sampling):
    text = time_instruction(total, fps, sample_indices(total, wanted, sampling, fps), by_second=sampling == "second")
    assert len(f"\n{text}\n") <= len(longest_instruction(wanted, total / fps))
