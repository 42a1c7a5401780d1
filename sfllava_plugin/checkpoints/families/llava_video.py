"""LLaVA-Video with its SigLIP tower and Qwen2 (arXiv 2410.02713)."""

from dataclasses import replace
from typing import Any

from transformers import LlavaNextConfig, PreTrainedTokenizerBase

from sfllava_plugin.checkpoints.families.family import Family
from sfllava_plugin.checkpoints.families.llava_next import DEFAULTS
from sfllava_plugin.checkpoints.families.onevision import is_llava_video
from sfllava_plugin.checkpoints.families.towers import SIGLIP
from sfllava_plugin.checkpoints.settings import Native
from sfllava_plugin.tokens.notation import STRIDED_POOLS, is_count

#: Every so many frames a slow one, with ``add_faster_video``.
_STRIDE = "faster_token_stride"


class LlavaVideo(Family):
    """LLaVA-Video, in the lmms-lab format, the only one it is released in.

    Its pooling is ambiguous in public. Training scripts, config.json and the port to transformers say ``bilinear``, the
    default here; the evaluation command says ``average``: set the pathways for that. Where config.json says otherwise,
    its words count: pooling, time instruction, forced sampling, and slow and fast frames (``add_faster_video``).
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

    def settings(self, config: dict[str, Any]) -> Native:
        pathways = config.get("mm_spatial_pool_mode") or self.native.pathways
        native = replace(
            self.native,
            pathways=pathways,
            sampling="second" if config.get("force_sample") is False else self.native.sampling,
            time_instruction=config.get("add_time_instruction") is not False,
        )
        if not config.get("add_faster_video"):
            return native
        return replace(native, pathways=f"interleaved_{config[_STRIDE]}_{pathways}", order="time")

    def objection(self, config: dict[str, Any]) -> str | None:
        if (mode := config.get("mm_spatial_pool_mode")) and mode not in STRIDED_POOLS:
            return f"mm_spatial_pool_mode is {mode!r}, {self.name} has {' or '.join(map(repr, STRIDED_POOLS))}"
        if config.get("add_faster_video") and not is_count(stride := config.get(_STRIDE)):
            return f"add_faster_video needs a {_STRIDE} from 1 on, which is {stride!r}"
        return super().objection(config)

    def is_own(self, config: dict[str, Any]) -> bool:
        return is_llava_video(config)

    def prompts(self, config: LlavaNextConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        return "qwen_1_5"
