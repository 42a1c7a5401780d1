"""The words of a LLaVA-Video's config.json decide on its native layout, its frames and its prompt."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from sfllava_plugin.checkpoints.prepare import prepare
from sfllava_plugin.checkpoints.video_config import VideoConfig
from sfllava_plugin.registry import Entry
from tests.reference_family import models


def settings(folder: Path, **changes) -> dict:
    """Return the key ``sfllava`` of a model directory."""
    out = prepare(Entry(name="tested", checkpoint=str(folder), **changes))
    return json.loads((out / "config.json").read_text(encoding="utf-8"))["sfllava"]


def say(folder: Path, words: dict) -> None:
    """Change words of config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | words), encoding="utf-8")


#: Words of a LLaVA-Video's config.json, and the settings that they change.
WORDS = [
    ({"mm_spatial_pool_mode": None}, {}),
    ({"mm_spatial_pool_mode": "average"}, {"pathways": "average"}),
    ({"add_time_instruction": False}, {"time_instruction": False}),
    ({"add_time_instruction": None, "force_sample": None}, {}),
    ({"force_sample": False}, {"sampling": "second"}),
    ({"add_faster_video": True}, {"pathways": "interleaved_10_bilinear", "order": "time"}),
    (
        {"add_faster_video": True, "faster_token_stride": 3, "mm_spatial_pool_mode": "average"},
        {"pathways": "interleaved_3_average", "order": "time"},
    ),
]


@pytest.mark.parametrize(("words", "expected"), WORDS)
def test_the_words_of_a_llava_video_count(checkpoint, tmp_path, words, expected):
    folder = Path(shutil.copytree(checkpoint("llava-video", image_size=384, faster_token=True), tmp_path / "copy"))
    plain = settings(folder)
    say(folder, words)
    native = {"native": expected["pathways"]} if "pathways" in expected else {}
    assert settings(folder) == plain | expected | native
    assert settings(folder, pathways="native") == plain | expected | native


@pytest.mark.parametrize(
    ("words", "count", "of_64"),
    [
        # 13 x 13 tokens and 13 newlines; of four frames two are slow.
        ({"mm_spatial_pool_mode": "average"}, 4 * 182, 11648),
        ({"add_faster_video": True, "faster_token_stride": 3}, 2 * 211 + 2 * 57, 7036),
        (
            {"add_faster_video": True, "faster_token_stride": 3, "mm_spatial_pool_mode": "average"},
            2 * 183 + 2 * 43,
            5832,
        ),
    ],
)
def test_the_layout_by_its_words_is_that_of_the_reference(checkpoint, tmp_path, words, count, of_64):
    """From the same projected patches, without an engine."""
    folder = Path(shutil.copytree(checkpoint("llava-video", image_size=384, faster_token=True), tmp_path / "copy"))
    say(folder, words)
    frames = np.random.default_rng(0).integers(0, 256, (4, 384, 384, 3), np.uint8)
    extra = {"image_newline": models.newline(folder), "faster_token": models.faster_token(folder)}
    video = VideoConfig.model_validate(settings(folder))
    maps = models.projected_maps(folder, frames)
    found = video.layout.tokens([maps], 4, video.geometry, lambda tokens: tokens, extra)
    assert (len(found), video.tokens(64)) == (count, of_64)
    assert (found - models.native_video_features(folder, frames)).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            {"mm_spatial_pool_mode": "max"},
            "mm_spatial_pool_mode is 'max', LLaVA-Video has 'bilinear' or 'average'; use",
        ),
        (
            {"add_faster_video": True},
            "interleaved_10_bilinear needs the weight faster_token, and this checkpoint has no",
        ),
        (
            {"add_faster_video": True, "faster_token_stride": None},
            "add_faster_video needs a faster_token_stride from 1 on, which is None; use",
        ),
        ({"add_faster_video": True, "faster_token_stride": 0}, "a faster_token_stride from 1 on, which is 0; use"),
    ],
)
def test_a_llava_video_that_lacks_what_its_words_need(checkpoint, tmp_path, words, message):
    folder = Path(shutil.copytree(checkpoint("llava-video", image_size=384), tmp_path / "copy"))
    say(folder, words)
    with pytest.raises(ValueError, match=message):
        settings(folder)
