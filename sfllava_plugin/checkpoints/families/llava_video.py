"""LLaVA-Video with its SigLIP tower and Qwen2 (arXiv 2410.02713)."""

from typing import Any

from transformers import LlavaNextConfig, PreTrainedTokenizerBase

from sfllava_plugin.checkpoints.families.family import Family
from sfllava_plugin.checkpoints.families.llava_next import DEFAULTS
from sfllava_plugin.checkpoints.families.onevision import is_llava_video
from sfllava_plugin.checkpoints.families.towers import SIGLIP
from sfllava_plugin.checkpoints.settings import Native


class LlavaVideo(Family):
    """LLaVA-Video, in the lmms-lab format, the only one it is released in.

    Its pooling is ambiguous in public. Training scripts, config.json and the port to transformers say ``bilinear``, the
    default here; the evaluation command says ``average``: set the pathways for that.
    """

    name = "LLaVA-Video"
    example = "lmms-lab/LLaVA-Video-7B-Qwen2"
    native = Native(frames=64, pathways="bilinear", newline="rows", time_instruction=True)
    originals = ("LlavaQwenForCausalLM",)
    tower = SIGLIP
    picture_limit = 9
    several_pictures = "square"
    original_fields = {
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": -2,
        "mm_patch_merge_type": "spatial_unpad",
    }
    original_defaults = DEFAULTS | {"mm_newline_position": "grid", "mm_spatial_pool_stride": 2}
    telling = ("mm_spatial_pool_mode", "mm_spatial_pool_out_channels")

    def is_own(self, config: dict[str, Any]) -> bool:
        return is_llava_video(config)

    def prompts(self, config: LlavaNextConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        return "qwen_1_5"
