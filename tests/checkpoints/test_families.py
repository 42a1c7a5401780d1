"""LLaVA-NeXT 1.6 is recognised, and its relatives are refused by name.

The configurations are those of the published repositories, without the fields that only their language models read.
"""

import json
import re
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from examples.random_checkpoint import SMALL, write_checkpoint
from sfllava_plugin.checkpoints.families import FAMILIES, WEIGHT_NAMES, find
from sfllava_plugin.checkpoints.prepare import prepare
from sfllava_plugin.checkpoints.prepared import CheckpointError
from sfllava_plugin.checkpoints.weights import tensors
from sfllava_plugin.prompts import FAMILIES as PROMPTS
from sfllava_plugin.registry import Entry
from sfllava_plugin.tokens.layout import parse

#: Keys of config.json that say what kind of model it is; the rest are sizes.
METHOD = ("architectures", "model_type", "image_", "mm_")
PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
CLIP, SIGLIP = "openai/clip-vit-large-patch14-336", "google/siglip-so400m-patch14-384"
TRAINED = {
    "freeze_mm_mlp_adapter": False,
    "freeze_mm_vision_resampler": False,
    "mm_hidden_size": 1024,
    "mm_projector_lr": None,
    "mm_projector_type": "mlp2x_gelu",
    "mm_resampler_type": None,
    "mm_use_im_patch_token": False,
    "mm_use_im_start_end": False,
    "mm_vision_select_feature": "patch",
    "mm_vision_select_layer": -2,
    "mm_vision_tower": CLIP,
    "mm_vision_tower_lr": 2e-06,
    "model_type": "llava",
    "tune_mm_mlp_adapter": False,
    "tune_mm_vision_resampler": False,
    "unfreeze_mm_vision_tower": True,
    "use_mm_proj": True,
}
NEXT = TRAINED | {
    "architectures": ["LlavaLlamaForCausalLM"],
    "image_aspect_ratio": "anyres",
    "image_crop_resolution": 224,
    "image_grid_pinpoints": PINPOINTS,
    "image_split_resolution": 224,
    "mm_patch_merge_type": "spatial_unpad",
}
ONEVISION = NEXT | {
    "architectures": ["LlavaQwenForCausalLM"],
    "image_aspect_ratio": "anyres_max_9",
    "mm_hidden_size": 1152,
    "mm_spatial_pool_mode": "bilinear",
    "mm_spatial_pool_stride": None,
    "mm_tunable_parts": "mm_vision_tower,mm_mlp_adapter,mm_language_model",
    "mm_vision_tower": SIGLIP,
    "model_type": "llava_qwen",
    "use_pos_skipping": False,
    "vision_tower_pretrained": None,
}
HF_NEXT = {
    "architectures": ["LlavaNextForConditionalGeneration"],
    "image_grid_pinpoints": PINPOINTS,
    "image_token_index": 32000,
    "model_type": "llava_next",
    "projector_hidden_act": "gelu",
    "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default",
}
HF_NEXT_VIDEO = HF_NEXT | {
    "architectures": ["LlavaNextVideoForConditionalGeneration"],
    "image_token_index": 32001,
    "model_type": "llava_next_video",
    "spatial_pool_mode": "average",
    "spatial_pool_stride": 2,
    "video_token_index": 32000,
}
HF_15 = HF_NEXT | {"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava"}
LLAVA_VIDEO = ONEVISION | {
    "add_faster_video": False,
    "add_time_instruction": True,
    "faster_token_stride": 10,
    "force_sample": True,
    "mm_newline_position": "grid",
    "mm_spatial_pool_stride": 2,
}


def without(config: dict, *keys: str) -> dict:
    return {key: value for key, value in config.items() if key not in keys}


def built(architecture: str, model_type: str, **fields) -> dict:
    """Return a configuration in the hf format."""
    return HF_NEXT | {"architectures": [architecture], "model_type": model_type} | fields


ORIGINAL_15 = without(NEXT, "image_crop_resolution", "image_grid_pinpoints", "image_split_resolution") | {
    "image_aspect_ratio": "pad",
    "mm_vision_tower_lr": None,
    "unfreeze_mm_vision_tower": False,
}
OTHERS = {
    "NeXT-Video": (
        NEXT
        | {
            "mm_resampler_type": "spatial_pool",
            "mm_spatial_pool_mode": "average",
            "mm_spatial_pool_out_channels": 1024,
            "mm_spatial_pool_stride": 2,
        },
        r"LLaVA-NeXT-Video \(config.json says mm_resampler_type 'spatial_pool'\): it pools before the projector; "
        "use a LLaVA-NeXT 1.6 .*, or serve llava-hf/LLaVA-NeXT-Video-7B-hf with vLLM alone$",
    ),
    "1.5": (without(ORIGINAL_15, "mm_patch_merge_type"), r"LLaVA-1\.5 .*image_aspect_ratio 'pad'.*llava-1\.5-7b-hf"),
    "1.5 flat": (ORIGINAL_15 | {"mm_patch_merge_type": "flat"}, r"LLaVA-1\.5 \("),
    "OneVision": (ONEVISION, f"LLaVA-OneVision .*mm_vision_tower '{SIGLIP}'.*SigLIP.*llava-onevision-qwen2-7b-ov-hf"),
    "OneVision chat": (ONEVISION | {"mm_newline_position": "one_token"}, r"LLaVA-OneVision \("),
    "OneVision by its tiles": (ONEVISION | {"mm_vision_tower": CLIP}, r"OneVision .*image_aspect_ratio 'anyres_max_9'"),
    "LLaVA-Video": (LLAVA_VIDEO, r"this is LLaVA-Video \(config.json says add_time_instruction True\)"),
    "Video-LLaVA": (
        without(ORIGINAL_15, "mm_vision_tower")
        | {
            "mm_image_tower": "LanguageBind/LanguageBind_Image",
            "mm_video_tower": "LanguageBind/LanguageBind_Video_merge",
        },
        "this is Video-LLaVA .*mm_video_tower",
    ),
    "hf NeXT-Video": (HF_NEXT_VIDEO, r"LLaVA-NeXT-Video \(config.json says LlavaNextVideoForConditionalGeneration\)"),
    "early hf NeXT-Video": (HF_NEXT_VIDEO | {"model_type": "llava_next"}, r"LLaVA-NeXT-Video \("),
    "hf NeXT-Video by its fields": (
        HF_NEXT_VIDEO | {"architectures": HF_NEXT["architectures"], "model_type": "llava_next"},
        r"LLaVA-NeXT-Video \(config.json says spatial_pool_mode 'average'\)",
    ),
    "hf 1.5": (HF_15, r"LLaVA-1\.5 \(config.json says LlavaForConditionalGeneration\)"),
    "hf OneVision": (
        built(
            "LlavaOnevisionForConditionalGeneration",
            "llava_onevision",
            vision_aspect_ratio="anyres_max_9",
            vision_config={"model_type": "siglip_vision_model"},
        ),
        r"this is LLaVA-OneVision \(",
    ),
    "hf Video-LLaVA": (built("VideoLlavaForConditionalGeneration", "video_llava"), r"this is Video-LLaVA \("),
    "hf port of LLaVA-Video": (
        built("LlavaNextVideo2ForConditionalGeneration", "llava_next_video2"),
        r"this is LLaVA-Video \(",
    ),
    "OneVision-1.5": (
        built("LLaVAOneVision1_5_ForConditionalGeneration", "llavaonevision1_5"),
        r"this is LLaVA-OneVision-1\.5 .*no fixed grid",
    ),
    "OneVision-2": (built("LlavaOnevision2ForConditionalGeneration", "llava_onevision2"), "this is LLaVA-OneVision-2 "),
    "Qwen-VL": (
        built("Qwen2_5_VLForConditionalGeneration", "qwen2_5_vl"),
        r"not a LLaVA-NeXT checkpoint: .* Qwen2_5_VLFor.* \(model_type 'qwen2_5_vl'\); use one of Llava",
    ),
    "model_type alone": (
        without(HF_NEXT, "architectures"),
        r"config\.json says no architecture \(model_type 'llava_next'\)",
    ),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A checkpoint in each format, with weights that load, for tests that only read."""
    return {
        layout: write_checkpoint(tmp_path_factory.mktemp(layout), layout=layout, geometry=SMALL)
        for layout in ("hf", "original")
    }


@pytest.mark.parametrize("other", OTHERS)
def test_a_relative_is_refused_by_name(written, tmp_path, other):
    """Weights and tokenizer would load; the method described in config.json decides."""
    config, message = OTHERS[other]
    layout = "original" if "mm_projector_type" in config else "hf"
    folder = Path(shutil.copytree(written[layout], tmp_path / "copy"))
    own = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    sizes = {key: value for key, value in own.items() if not key.startswith(METHOD)}
    (folder / "config.json").write_text(json.dumps(sizes | config), encoding="utf-8")
    with pytest.raises(CheckpointError, match=message) as raised:
        prepare(Entry(name="tested", checkpoint=str(folder)))
    assert "\n" not in str(raised.value)


GENUINE = {
    "v1.6-vicuna-7b": NEXT | {"pretrain_mm_mlp_adapter": None},
    "v1.6-34b": NEXT | {"vocab_size": 64000, "rope_theta": 5000000.0},
    "v1.6-mistral-7b": NEXT | {"architectures": ["LlavaMistralForCausalLM"], "model_type": "llava_mistral"},
    "llama3-llava-next-8b": NEXT | {"model_type": "llava_llama"},
    "a tower in a folder": NEXT | {"mm_vision_tower": "/models/clip-vit-large-patch14-336/"},
    "trained later": NEXT | {"mm_tunable_parts": "mm_mlp_adapter", "mm_spatial_pool_stride": None},
    "v1.6-vicuna-7b-hf": HF_NEXT,
}


@pytest.mark.parametrize("name", GENUINE)
def test_llava_next_is_recognised(tmp_path, name):
    (tmp_path / "config.json").write_text(json.dumps(GENUINE[name]), encoding="utf-8")
    assert find(tmp_path)[1] == ("hf" if name.endswith("-hf") else "original")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("found", ["hf", "original"])
def test_every_family_gives_geometry_names_and_prompts(written, family, found):
    folder = written[found]
    assert find(folder) == (family, found)
    tokenizer = AutoTokenizer.from_pretrained(prepare(Entry(name="tested", checkpoint=str(folder))))
    config = family.read_config(folder, found, tokenizer.convert_tokens_to_ids("<image>"))
    geometry = family.geometry(folder, found, config)
    assert (geometry.rows, geometry.columns, geometry.image_size) == (6, 6, 48)
    assert family.prompts(config, tokenizer) in PROMPTS
    assert family.native is None or parse(family.native)


@pytest.mark.parametrize("found", ["hf", "original"])
def test_every_weight_of_a_checkpoint_has_a_name_in_vllm(written, found):
    parts = ("vision_tower.vision_model.", "multi_modal_projector.linear_", "language_model.")
    for name, _ in tensors(written[found]):
        named = name
        for pattern, new in WEIGHT_NAMES.items():
            named = re.sub(pattern, new or "", named)
        assert not named or named.startswith(parts), name
    assert [pattern for pattern, name in WEIGHT_NAMES.items() if name is None]
