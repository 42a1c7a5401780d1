"""LLaVA-NeXT 1.6 with its CLIP tower: the checkpoints of the SlowFast-LLaVA paper."""

from typing import Any

from transformers import LlavaNextConfig, PreTrainedTokenizerBase

from sfllava_plugin.checkpoints.families.family import LANGUAGE_MODELS, Family
from sfllava_plugin.checkpoints.families.towers import CLIP
from sfllava_plugin.checkpoints.settings import Native

#: Values that an original config.json may leave out, in all families of that time.
DEFAULTS: dict[str, Any] = {
    "mm_resampler_type": None,
    "mm_use_im_start_end": False,
    "mm_vision_select_feature": "patch",
    "s2": False,
}


class LlavaNext(Family):
    """The LLaVA-NeXT 1.6 family, in the llava-hf and the liuhaotian format."""

    name = "LLaVA-NeXT"
    example = "llava-hf/llava-v1.6-vicuna-7b-hf"
    # Trained on images alone: these are the paper's settings.
    native = Native(frames=50, pathways=None, sampling="middles")
    hf = ("LlavaNextForConditionalGeneration", LlavaNextConfig)
    originals = tuple(LANGUAGE_MODELS)
    tower = CLIP
    original_fields = {
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": -2,
        "mm_patch_merge_type": "spatial_unpad",
        "image_aspect_ratio": "anyres",
    }
    original_defaults = DEFAULTS

    def prompts(self, config: LlavaNextConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        vocabulary = tokenizer.get_vocab()
        text_model = config.get_text_config().model_type
        if text_model in ("mistral", "qwen2"):
            return {"mistral": "mistral", "qwen2": "qwen"}[text_model]
        if "<|start_header_id|>" in vocabulary:
            return "llama3"
        return "yi" if "<|im_start|>" in vocabulary else "vicuna"
