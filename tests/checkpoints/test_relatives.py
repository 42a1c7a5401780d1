"""Relatives that no family supports are refused by name, with the reason and what to use instead."""

import json
import re
import shutil
from pathlib import Path

import pytest

from examples.random_checkpoint import SMALL, write_checkpoint
from sfllava_plugin.checkpoints.families import FAMILIES, refusal
from sfllava_plugin.checkpoints.prepare import prepare
from sfllava_plugin.checkpoints.prepared import CheckpointError
from sfllava_plugin.registry import Entry
from tests.checkpoints.published import (
    CLIP,
    HF_NEXT,
    LLAVA_VIDEO,
    NEXT,
    ONEVISION,
    ORIGINAL_15,
    SPATIAL_POOL,
    without,
)

#: Keys of config.json that say what kind of model it is; the rest are sizes.
METHOD = ("architectures", "model_type", "image_", "mm_")


def built(architecture: str, model_type: str, **fields) -> dict:
    """Return a configuration in the hf format."""
    return HF_NEXT | {"architectures": [architecture], "model_type": model_type} | fields


LLAVA_15 = (
    r"this is LLaVA-1\.5 in the original format \(config.json says .*\): .* nor the tower; use llava-hf/llava-1\.5"
)
RELATIVES = {
    "1.5": (ORIGINAL_15, f"{LLAVA_15}-7b-hf$"),
    "1.5 flat": (NEXT | {"mm_patch_merge_type": "flat"}, LLAVA_15),
    "Video-LLaVA": (
        without(ORIGINAL_15, "mm_vision_tower")
        | {
            "mm_image_tower": "LanguageBind/LanguageBind_Image",
            "mm_video_tower": "LanguageBind/LanguageBind_Video_merge",
        },
        r"this is Video-LLaVA \(config.json says mm_video_tower '.*'\): it has a second tower for videos; use ",
    ),
    "hf Video-LLaVA": (
        built("VideoLlavaForConditionalGeneration", "video_llava"),
        r"this is Video-LLaVA \(config.json says VideoLlavaFor.*\): .*second tower.*; use llava-hf/LLaVA-NeXT-Video",
    ),
    "hf port of LLaVA-Video": (
        built("LlavaNextVideo2ForConditionalGeneration", "llava_next_video2"),
        r"this is a port of LLaVA-Video \(.*\): no release of transformers .*; use lmms-lab/LLaVA-Video-7B-Qwen2$",
    ),
    "OneVision-1.5": (
        built("LLaVAOneVision1_5_ForConditionalGeneration", "llavaonevision1_5"),
        r"this is LLaVA-OneVision-1\.5 \(.*\): its tower has no fixed grid; use llava-hf/llava-onevision",
    ),
    "OneVision-2": (
        built("LlavaOnevision2ForConditionalGeneration", "llava_onevision2"),
        r"this is LLaVA-OneVision-2 \(.*\): its tower has no fixed grid; use .*, or serve it with vLLM alone$",
    ),
    "Qwen-VL": (
        built("Qwen2_5_VLForConditionalGeneration", "qwen2_5_vl"),
        r"not a checkpoint of the LLaVA family: .* Qwen2_5_VLFor.* \(model_type 'qwen2_5_vl'\); use one of LLaVA",
    ),
    "model_type alone": (
        without(HF_NEXT, "architectures"),
        r"config\.json says no architecture \(model_type 'llava_next'\); use one of",
    ),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A checkpoint in each format, with weights that load, for tests that only read."""
    return {
        layout: write_checkpoint(tmp_path_factory.mktemp(layout), layout=layout, geometry=SMALL)
        for layout in ("hf", "original")
    }


@pytest.mark.parametrize("relative", RELATIVES)
def test_a_relative_is_refused_by_name(written, tmp_path, relative):
    """Weights and tokenizer would load; the method described in config.json decides."""
    config, message = RELATIVES[relative]
    layout = "original" if "mm_projector_type" in config else "hf"
    folder = Path(shutil.copytree(written[layout], tmp_path / "copy"))
    own = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    sizes = {key: value for key, value in own.items() if not key.startswith(METHOD)}
    (folder / "config.json").write_text(json.dumps(sizes | config), encoding="utf-8")
    with pytest.raises(CheckpointError, match=message) as raised:
        prepare(Entry(name="tested", checkpoint=str(folder)))
    assert "\n" not in str(raised.value)


def test_a_stranger_is_told_every_family_and_a_checkpoint_of_it():
    message = refusal({"architectures": ["Qwen3ForCausalLM"]})
    assert all(f"{family.name} ({family.example})" in message for family in FAMILIES)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            NEXT | SPATIAL_POOL | {"mm_spatial_pool_mode": "max"},
            "mm_spatial_pool_mode is 'max', LLaVA-NeXT-Video has 'a",
        ),
        (NEXT | SPATIAL_POOL | {"mm_spatial_pool_stride": 4}, "mm_spatial_pool_stride is 4, LLaVA-NeXT-Video has 2"),
        (
            NEXT | SPATIAL_POOL | {"mm_vision_tower": "x/siglip"},
            "mm_vision_tower is 'x/siglip', LLaVA-NeXT-Video has cl",
        ),
        (
            NEXT | {"image_aspect_ratio": "anyres_max_9"},
            "image_aspect_ratio is 'anyres_max_9', LLaVA-NeXT has 'anyres'",
        ),
        (
            ONEVISION | {"image_aspect_ratio": "anyres_max_6"},
            "image_aspect_ratio is 'anyres_max_6', LLaVA-OneVision has",
        ),
        (
            ONEVISION | {"mm_newline_position": "frame"},
            "mm_newline_position is 'frame', LLaVA-OneVision has 'one_token'",
        ),
        (
            ONEVISION | {"mm_spatial_pool_mode": "average"},
            "mm_spatial_pool_mode is 'average', LLaVA-OneVision has 'bil",
        ),
        (ONEVISION | {"mm_resampler_type": "perceiver"}, "mm_resampler_type is 'perceiver', LLaVA-OneVision has None"),
        (ONEVISION | {"mm_vision_select_layer": -1}, "mm_vision_select_layer is -1, LLaVA-OneVision has -2"),
        (
            ONEVISION | {"mm_vision_tower": "google/siglip-so400m-patch14-224"},
            "mm_vision_tower is 'google/siglip-so400m-patch14-224', LLaVA-OneVision has siglip-so400m-patch14-384",
        ),
        (
            LLAVA_VIDEO | {"mm_vision_tower": "google/siglip-so400m-patch14-224"},
            "mm_vision_tower is 'google/siglip-so400m-patch14-224', LLaVA-Video has siglip-so400m-patch14-384",
        ),
        (LLAVA_VIDEO | {"mm_newline_position": "frame"}, "mm_newline_position is 'frame', LLaVA-Video has 'grid'"),
        (LLAVA_VIDEO | {"mm_spatial_pool_stride": 4}, "mm_spatial_pool_stride is 4, LLaVA-Video has 2"),
        (LLAVA_VIDEO | {"mm_vision_tower": CLIP}, f"mm_vision_tower is '{CLIP}', LLaVA-Video has siglip-so400m"),
        (LLAVA_VIDEO | {"mm_newer_trick": 3}, "mm_newer_trick is 3, LLaVA-Video has no such field"),
    ],
)
def test_a_field_of_another_method_is_named(config, message):
    found = refusal(config)
    assert re.match(re.escape(message), found), found
    assert re.search("; use a checkpoint such as [^ ]+$", found), found


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("next-video", {"spatial_pool_mode": "max"}, "spatial_pool_mode is 'max', LLaVA-NeXT-Video needs 'average'"),
        ("next-video", {"spatial_pool_stride": 4}, "spatial_pool_stride is 4, LLaVA-NeXT-Video needs 2"),
        (
            "onevision",
            {"vision_aspect_ratio": "anyres_max_4"},
            "vision_aspect_ratio is 'anyres_max_4', .* 'anyres_max_9'",
        ),
        ("onevision", {"vision_feature_layer": -2}, "vision_feature_layer is -2, LLaVA-OneVision needs -1"),
        (
            "onevision",
            {"vision_feature_select_strategy": "default"},
            "strategy is 'default', LLaVA-OneVision needs 'full'",
        ),
        ("onevision", {"image_token_index": 7}, "image_token_index is 7, LLaVA-OneVision needs 2003"),
        ("llava-1.5", {"vision_feature_select_strategy": "full"}, "strategy is 'full', LLaVA-1.5 needs 'default'"),
    ],
)
def test_a_value_of_another_method_in_an_hf_checkpoint_is_named(checkpoint, tmp_path, kind, changes, message):
    folder = Path(shutil.copytree(checkpoint(kind), tmp_path / "copy"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")
    with pytest.raises(CheckpointError, match=message) as raised:
        prepare(Entry(name="tested", checkpoint=str(folder)))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "tower", "message"),
    [
        (
            "next-video",
            "siglip_vision_model",
            "the tower is siglip_vision_model, LLaVA-NeXT-Video needs clip_vision_model",
        ),
        ("onevision", "clip_vision_model", "the tower is clip_vision_model, LLaVA-OneVision needs siglip_vision_model"),
    ],
)
def test_another_tower_is_refused(checkpoint, tmp_path, kind, tower, message):
    folder = Path(shutil.copytree(checkpoint(kind), tmp_path / "copy"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["vision_config"]["model_type"] = tower
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(CheckpointError, match=message):
        prepare(Entry(name="tested", checkpoint=str(folder)))
