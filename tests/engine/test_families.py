"""Every family in the engine, against transformers' own classes and a plain recomputation.

The references in tests/reference_family were written from a specification alone, and share no code with the package.
"""

import pytest

from sfllava_plugin.engine.offline.questions import Question
from tests.engine.families import (
    Case,
    assert_answers_alike,
    embedded,
    embedded_items,
    frames_of,
    noise,
    processed,
)
from tests.engine.support import FEATURES
from tests.reference_family import frames, models, time_instruction

NATIVE = {
    "onevision": Case("onevision", {}),
    "onevision-original": Case("onevision-original", {}),
    "llava-video": Case("llava-video", {"time_instruction": False}),
    "next-video": Case("next-video", {}),
    "next-video-original": Case("next-video-original", {}),
    "next-video-34b": Case("next-video", {}, "yi"),
}


@pytest.mark.parametrize("name", NATIVE)
def test_the_native_layout_gives_the_features_of_transformers(family_runner, written, bikes, name):
    runner, folder = family_runner(NATIVE[name]), written(NATIVE[name])
    shown = frames_of(runner, bikes)
    for count in (1, 2, 6, len(shown)):
        found = embedded(runner, shown[:count])
        expected = models.native_video_features(folder, shown[:count])
        assert found.shape == expected.shape == (runner.video_config.tokens(count), 128)
        assert expected.abs().max() > 1, "zeros would prove nothing"
        assert (found - expected).abs().max() < FEATURES


@pytest.mark.parametrize("name", NATIVE)
def test_an_answer_is_that_of_transformers(family_runner, written, bikes, name):
    runner, folder = family_runner(NATIVE[name]), written(NATIVE[name])
    answer = runner.answer(Question(str(bikes), "What is happening?", max_tokens=12, logprobs=5))
    features = models.native_video_features(folder, frames_of(runner, bikes))
    assert_answers_alike(answer, folder, runner, features)


@pytest.mark.parametrize("sampling", ["linspace", "second"])
def test_the_time_instruction_is_tokenised_with_the_question(family_runner, written, bikes, sampling):
    case = Case("llava-video", {"sampling": sampling})
    runner, folder = family_runner(case), written(case)
    answer = runner.answer(Question(str(bikes), "What is happening?", max_tokens=12, logprobs=5))
    features = models.native_video_features(folder, frames_of(runner, bikes))
    # bikes.mp4 has 250 frames, 25 a second: 10 of them are one a second apart.
    wanted = frames.linspace(250, 64) if sampling == "linspace" else frames.each_second(250, 64, 25.0)
    assert answer.frames == wanted and len(wanted) == {"linspace": 64, "second": 10}[sampling]
    sentence = time_instruction.for_video(250, 25.0, wanted, uniform=sampling == "linspace")
    assert_answers_alike(answer, folder, runner, features, f"{sentence}\n")


PICTURES = {
    "next": Case("llava-next", {}),
    "next-video": Case("next-video", {}),
    "next-video-original": Case("next-video-original", {}),
    "onevision": Case("onevision", {}),
    "onevision-original": Case("onevision-original", {}),
    "1.5": Case("llava-1.5", {}),
}
#: Height and width. Some are tall, some wide; 352 x 748 tells the roundings apart, 1153 x 944 is OneVision's largest.
SIZES = [(336, 336), (480, 640), (720, 1280), (40, 322), (352, 748), (1153, 944), (928, 1154), (100, 100), (700, 500)]


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_of_any_size_gives_the_features_of_its_reference(family_runner, written, name):
    runner, folder = family_runner(PICTURES[name]), written(PICTURES[name])
    for size in SIZES:
        picture = noise(size)
        [found] = embedded_items(runner, [picture])
        expected = models.picture_features(folder, picture)
        assert found.shape == expected.shape, size
        assert (found - expected).abs().max() < FEATURES, size


@pytest.mark.parametrize("name", ["next", "onevision"])
def test_several_pictures_of_one_prompt(family_runner, written, name):
    runner, folder = family_runner(PICTURES[name]), written(PICTURES[name])
    pictures = [noise(size) for size in ((480, 640), (40, 322), (640, 480))]
    expected = models.pictures_features(folder, pictures)
    for found, one in zip(embedded_items(runner, pictures), expected, strict=True):
        assert found.shape == one.shape
        assert (found - one).abs().max() < FEATURES


def test_a_picture_among_others_is_another_one_in_the_cache(family_runner):
    pictures = [noise((480, 640)), noise((40, 322))]
    for name, differs in (("next", False), ("onevision", True)):
        runner = family_runner(PICTURES[name])
        alone, among = (processed(runner, shown)["mm_hashes"]["image"][0] for shown in (pictures[:1], pictures))
        assert (alone != among) == differs
