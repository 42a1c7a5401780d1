"""The engine against a reference that shares no code with it."""

import functools

import pytest
import torch

from sfllava_plugin.tokens.layout import parse
from sfllava_plugin.video.decode import decode
from tests import reference
from tests.engine.support import FEATURES, assert_same_answer, expected_answer, model_of

DEFAULT = "slowfast-slow_10frms_spatial_1d_max_pool-fast_4x4"
PATHWAYS = [
    DEFAULT,
    "slowfast-slow_10frms_spatial_1d_avg_pool-fast_8x8",
    "slowfast-slow_8frms_spatial_2d_max_pool-fast_4x4",
    "slowfast-slow_8frms_spatial_2d_avg_pool-fast_1x1",
    "slowfast-slow_10frms_concat-fast_4x4",
    "slowfast-slow_4frms_spatial_1d_max_pool-fast_5x7",
    "slowfast-slow_16frms_spatial_2d_avg_pool-fast_24x24",
    "spatial_1d_max_pool",
    "spatial_2d_avg_pool",
    "concat",
    "spatial_temporal_pool",
    "temporal_global_pool",
]


@pytest.fixture
def question():
    from sfllava_plugin.engine.offline import Question

    return functools.partial(Question, logprobs=5)


@pytest.mark.parametrize("count", [1, 5, 12, 50])
def test_video_features_match_the_reference(runners, checkpoints, clips, monkeypatch, count):
    frames = decode(clips(count), num_frames=50, image_size=336).frames
    model = model_of(runners())
    video_config = model.video_config
    # Both towers run once, since they do not depend on the pathways.
    projected = reference.projected_features(checkpoints(), frames)
    with torch.inference_mode():
        hidden = list(model._hidden(torch.from_numpy(frames)))
    monkeypatch.setattr(model, "_hidden", lambda _: iter(hidden))
    for notation in PATHWAYS:
        monkeypatch.setattr(model, "video_config", video_config.model_copy(update={"pathways": parse(notation)}))
        with torch.inference_mode():
            [tokens] = model.embed_multimodal(video_frames=[torch.from_numpy(frames)])
        expected = reference.pathway(projected, notation)
        assert tokens.shape == expected.shape, notation
        assert expected.abs().max() > 1, "zeros would prove nothing"
        assert (tokens - expected).abs().max() < FEATURES, notation


@pytest.mark.parametrize("options", [(), ("a red bus", "two bikes", "nothing at all")], ids=["open", "choice"])
@pytest.mark.parametrize("family", ["vicuna", "yi", "mistral", "llama3", "qwen"])
def test_prompts_of_every_family(runners, checkpoints, clips, question, family, options):
    runner = runners(family)
    asked = question(clips(12), "What happens after <image> the start?", options, max_tokens=12)
    frames = decode(asked.video, num_frames=50, image_size=336).frames
    expected = expected_answer(checkpoints(family), runner, asked, frames, DEFAULT)
    assert_same_answer(runner.answer(asked), *expected)


@pytest.mark.parametrize("count", [1, 5, 12, 60])
def test_videos_of_every_length(runners, checkpoints, clips, question, count):
    runner = runners()
    asked = question(clips(count), "What is happening?", max_tokens=24)
    frames = decode(asked.video, num_frames=50, image_size=336).frames
    answer = runner.answer(asked)
    assert_same_answer(answer, *expected_answer(checkpoints(), runner, asked, frames, DEFAULT))
    shown = min(count, 50)
    assert answer.frames == reference.frame_indices(count, 50)
    assert answer.slow_frames == reference.slow_indices(shown, 10)
    assert answer.video_tokens == 10 * 288 + shown * 16


@pytest.mark.parametrize(
    ("notation", "count"),
    [
        ("slowfast-slow_8frms_spatial_2d_avg_pool-fast_1x1", 50),
        ("slowfast-slow_4frms_spatial_1d_max_pool-fast_5x7", 50),
        ("slowfast-slow_6frms_concat-fast_2x2", 12),
        ("spatial_1d_avg_pool", 12),
        ("spatial_temporal_pool", 50),
        ("temporal_global_pool", 12),
    ],
)
def test_every_kind_of_pathway(runners, checkpoints, clips, question, notation, count):
    overrides = {"sfllava": {"pathways": notation, "frames": count}}
    runner = runners(hf_overrides=overrides)
    asked = question(clips(50), "What is happening?", max_tokens=12)
    frames = decode(asked.video, num_frames=count, image_size=336).frames
    assert len(frames) == count
    answer = runner.answer(asked)
    assert_same_answer(answer, *expected_answer(checkpoints(), runner, asked, frames, notation))


def test_a_real_clip(runners, checkpoints, bikes, question):
    runner = runners()
    asked = question(bikes, "Describe the video.", max_tokens=24)
    frames = decode(bikes, num_frames=50, image_size=336).frames
    answer = runner.answer(asked)
    assert_same_answer(answer, *expected_answer(checkpoints(), runner, asked, frames, DEFAULT))
    assert answer.video_tokens == 3680
