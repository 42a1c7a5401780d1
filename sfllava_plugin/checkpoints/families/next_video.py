"""LLaVA-NeXT-Video with its CLIP tower, which pools before the projector."""

from typing import Any

from transformers import LlavaNextConfig, LlavaNextVideoConfig, PreTrainedConfig, PreTrainedTokenizerBase

from sfllava_plugin.checkpoints.families.family import Family
from sfllava_plugin.checkpoints.families.llava_next import DEFAULTS
from sfllava_plugin.checkpoints.families.towers import CLIP
from sfllava_plugin.checkpoints.formats import Format, architecture
from sfllava_plugin.checkpoints.settings import Native

#: The program reads 32 frames of 144 tokens past the 4096 positions of these language models.
_POSITIONS = 8192
_VICUNA_THETA = 10000.0
#: Any of these makes it NeXT-Video, whatever the architecture: early hf revisions name LLaVA-NeXT's.
_FIELDS = ("spatial_pool_mode", "spatial_pool_stride", "mm_spatial_pool_mode", "mm_spatial_pool_out_channels")


class NextVideo(Family):
    """LLaVA-NeXT-Video, in the llava-hf and the lmms-lab format."""

    name = "LLaVA-NeXT-Video"
    example = "llava-hf/LLaVA-NeXT-Video-7B-hf"
    native = Native(frames=32, pathways="average", pool="before_projector", fit="crop")
    hf = ("LlavaNextVideoForConditionalGeneration", LlavaNextVideoConfig)
    originals = ("LlavaLlamaForCausalLM", "LlavaMistralForCausalLM")
    tower = CLIP
    hf_fields = {"spatial_pool_mode": "average", "spatial_pool_stride": 2}
    original_fields = {
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": -2,
        "mm_resampler_type": "spatial_pool",
        "mm_spatial_pool_mode": "average",
        "mm_spatial_pool_stride": 2,
    }
    original_defaults = {key: value for key, value in DEFAULTS.items() if key != "mm_resampler_type"}
    telling = ("mm_spatial_pool_out_channels", "mm_patch_merge_type", "mm_newline_position")

    def format_of(self, config: dict[str, Any]) -> Format | None:
        found = architecture(config)
        if found == "LlavaNextForConditionalGeneration" and self.is_own(config):
            return "hf"
        return super().format_of(config)

    def is_own(self, config: dict[str, Any]) -> bool:
        by_resampler = config.get("mm_resampler_type") == "spatial_pool"
        return by_resampler or any(config.get(key) is not None for key in _FIELDS)

    def stretch(self, text: PreTrainedConfig, found: Format) -> None:
        rope = text.rope_parameters
        if rope.get("rope_type", "default") == "default" and text.max_position_embeddings < _POSITIONS:
            if found == "original" and text.model_type == "llama" and rope["rope_theta"] == _VICUNA_THETA:
                # The program scales Vicuna's positions, and no other model's, when it loads the weights.
                text.rope_parameters = {**rope, "rope_type": "linear", "factor": 2.0}
            else:
                text.max_position_embeddings = _POSITIONS

    def prompts(self, config: LlavaNextConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        return "chatml" if "<|im_start|>" in tokenizer.get_vocab() else "vicuna_v1"
