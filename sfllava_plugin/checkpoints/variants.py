"""The LLaVA family: which checkpoints are LLaVA-NeXT 1.6 with CLIP, and what the others are.

They share architectures, model types and names of weights, and differ in what happens to the patches of a video. Read
as LLaVA-NeXT they would load, and answer wrongly.

This module holds data and the rules that read config.json. It opens no files.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

HF_ARCHITECTURE = "LlavaNextForConditionalGeneration"
#: Architectures of the original layout and the language model inside them.
LANGUAGE_MODELS = {
    "LlavaLlamaForCausalLM": "llama",
    "LlavaMistralForCausalLM": "mistral",
    "LlavaQwenForCausalLM": "qwen2",
}
#: Towers by the last part of ``mm_vision_tower``, with the mean and standard deviation of each colour.
TOWERS = {"clip-vit-large-patch14-336": (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD)}

_ANY = ".*"


@dataclass(frozen=True)
class Variant:
    """A member of the family that is not supported.

    ``architecture`` and the values of ``fields`` are regular expressions. The fields tell it from LLaVA-NeXT where both
    have one architecture: any of them is enough, null counts as absent. ``served`` is a checkpoint for vLLM alone.
    """

    name: str
    architecture: str
    why: str
    fields: Mapping[str, str] = field(default_factory=dict)
    served: str | None = None


#: The first one that matches is named, so the narrower ones come first.
VARIANTS = (
    Variant(
        "Video-LLaVA",
        "VideoLlavaForConditionalGeneration",
        "it has a second tower for videos",
        {"mm_video_tower": _ANY, "mm_image_tower": _ANY},
    ),
    Variant(
        "LLaVA-Video",
        "LlavaNextVideo2ForConditionalGeneration",
        "it has a SigLIP tower, and a newline after each row of patches",
        {
            "add_time_instruction": _ANY,
            "add_faster_video": _ANY,
            "faster_token_stride": _ANY,
            "force_sample": _ANY,
            "mm_newline_position": "grid",
        },
    ),
    Variant("LLaVA-OneVision-1.5", "LLaVAOneVision1_5_?ForConditionalGeneration", "its tower has no fixed grid"),
    Variant("LLaVA-OneVision-2", "LlavaOnevision2ForConditionalGeneration", "its tower has no fixed grid"),
    Variant(
        "LLaVA-OneVision",
        "LlavaOnevisionForConditionalGeneration",
        "it has a SigLIP tower, and pools to 14x14",
        {"mm_vision_tower": ".*siglip.*", "image_aspect_ratio": "anyres_max_.*", "vision_aspect_ratio": _ANY},
        "llava-hf/llava-onevision-qwen2-7b-ov-hf",
    ),
    Variant(
        "LLaVA-NeXT-Video",
        "LlavaNextVideoForConditionalGeneration",
        "it pools before the projector",
        {
            "mm_resampler_type": "spatial_pool",
            "mm_spatial_pool_mode": _ANY,
            "mm_spatial_pool_stride": _ANY,
            "mm_spatial_pool_out_channels": _ANY,
            "spatial_pool_mode": _ANY,
            "spatial_pool_stride": _ANY,
            "video_token_index": _ANY,
            "video_token_id": _ANY,
        },
        "llava-hf/LLaVA-NeXT-Video-7B-hf",
    ),
    Variant(
        "PLLaVA",
        "Pl?lavaForConditionalGeneration",
        "it has adapters to merge, and prompts of its own",
        {"pooling_shape": _ANY, "frame_shape": _ANY},
    ),
    Variant(
        "LLaVA-1.5",
        "LlavaForConditionalGeneration",
        "it was trained on one view of each image, with other prompts",
        {"image_aspect_ratio": "pad", "mm_patch_merge_type": "flat"},
        "llava-hf/llava-1.5-7b-hf",
    ),
)

#: What an original config.json must say.
_REQUIRED = {
    "mm_projector_type": "mlp2x_gelu",
    "mm_vision_select_layer": -2,
    "mm_patch_merge_type": "spatial_unpad",
    "image_aspect_ratio": "anyres",
}
#: What it may leave out.
_DEFAULTS = {"mm_resampler_type": None, "mm_use_im_start_end": False, "mm_vision_select_feature": "patch", "s2": False}
#: Of training, or said by the weights as well.
_WITHOUT_EFFECT = {
    "mm_hidden_size",
    "mm_projector_lr",
    "mm_tunable_parts",
    "mm_use_im_patch_token",
    "mm_vision_tower",
    "mm_vision_tower_lr",
}


def architecture(config: dict) -> str:
    """The first architecture that config.json names, or the words for none."""
    named = config.get("architectures")
    return str(named[0]) if named and isinstance(named, list) else "no architecture"


def tower(config: dict) -> str:
    """The last part of ``mm_vision_tower``, which may be a hub repository or somebody's folder."""
    return str(config.get("mm_vision_tower")).rstrip("/").rpartition("/")[2]


def refusal(config: dict) -> str | None:
    """Why this is not LLaVA-NeXT 1.6 with CLIP, and what to use instead; None where it is."""
    found = architecture(config)
    for variant in VARIANTS:
        if re.fullmatch(variant.architecture, found):
            return _is_another(variant, found)
    if found != HF_ARCHITECTURE and found not in LANGUAGE_MODELS:
        return (
            f"not a LLaVA-NeXT checkpoint: config.json says {found} (model_type {config.get('model_type')!r}); "
            f"use {HF_ARCHITECTURE} or {', '.join(LANGUAGE_MODELS)}"
        )
    for variant in VARIANTS:
        for key, pattern in variant.fields.items():
            value = config.get(key)
            if value is not None and re.fullmatch(pattern, str(value), re.DOTALL):
                return _is_another(variant, f"{key} {value!r}")
    return None if found == HF_ARCHITECTURE else _unlike_original(config)


def _is_another(variant: Variant, evidence: str) -> str:
    served = f", or serve {variant.served} with vLLM alone" if variant.served else ""
    return (
        f"this is {variant.name} (config.json says {evidence}): {variant.why}; "
        f"use a LLaVA-NeXT 1.6 checkpoint, such as sf-llava-7b's{served}"
    )


def _unlike_original(config: dict) -> str | None:
    """The first field of an original config.json that says another method, or None."""
    said = _DEFAULTS | {key: value for key, value in config.items() if value is not None}
    if tower(said) not in TOWERS:
        return f"mm_vision_tower is {said.get('mm_vision_tower')!r}, SlowFast-LLaVA needs one of {', '.join(TOWERS)}"
    expected = _REQUIRED | _DEFAULTS
    for key, value in expected.items():
        if (found := said.get(key)) != value:
            return f"{key} is {found!r}, SlowFast-LLaVA needs {value!r}"
    for key, value in said.items():
        if key.startswith("mm_") and value and key not in expected and key not in _WITHOUT_EFFECT:
            return f"{key} is {value!r}, LLaVA-NeXT 1.6 has no such field"
    return None
