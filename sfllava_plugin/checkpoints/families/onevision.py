"""LLaVA-OneVision with its SigLIP tower and Qwen2 (arXiv 2408.03326)."""

from typing import Any

from transformers import LlavaNextConfig, LlavaOnevisionConfig, PreTrainedTokenizerBase

from sfllava_plugin.checkpoints.families.family import Family
from sfllava_plugin.checkpoints.families.llava_next import DEFAULTS
from sfllava_plugin.checkpoints.families.towers import SIGLIP, stock_name
from sfllava_plugin.checkpoints.settings import Native

#: Fields of LLaVA-Video, which was trained from OneVision and shares its architecture.
VIDEO_FIELDS = ("add_time_instruction", "add_faster_video", "faster_token_stride", "force_sample")


class OneVision(Family):
    """LLaVA-OneVision, in the llava-hf and the lmms-lab format."""

    name = "LLaVA-OneVision"
    example = "llava-hf/llava-onevision-qwen2-7b-ov-hf"
    native = Native(frames=32, pathways="bilinear", newline="end")
    hf = ("LlavaOnevisionForConditionalGeneration", LlavaOnevisionConfig)
    originals = ("LlavaQwenForCausalLM",)
    tower = SIGLIP
    picture_limit = 9
    several_pictures = "square"
    hf_fields = {"vision_aspect_ratio": "anyres_max_9", "use_image_newline_parameter": True}
    original_fields = {
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": -2,
        "mm_patch_merge_type": "spatial_unpad",
        "image_aspect_ratio": "anyres_max_9",
    }
    original_defaults = DEFAULTS | {"mm_newline_position": "one_token", "mm_spatial_pool_mode": "bilinear"}
    telling = ("mm_spatial_pool_stride", "mm_spatial_pool_out_channels")

    def is_own(self, config: dict[str, Any]) -> bool:
        # Towers of other sizes, too: the objection to them should name this family.
        return "siglip" in stock_name(config).lower() and not is_llava_video(config)

    def prompts(self, config: LlavaNextConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        return "qwen_1_5"


def is_llava_video(config: dict[str, Any]) -> bool:
    """Tell whether an original config.json is LLaVA-Video's."""
    named = any(config.get(key) is not None for key in VIDEO_FIELDS)
    return named or config.get("mm_newline_position") == "grid"
