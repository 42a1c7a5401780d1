"""LLaVA-1.5 with its stock CLIP tower, in the llava-hf format."""

from transformers import LlavaConfig, LlavaNextConfig, PreTrainedTokenizerBase

from sfllava_plugin.checkpoints.families.family import Family
from sfllava_plugin.checkpoints.families.towers import CLIP
from sfllava_plugin.checkpoints.settings import Native


class Llava15(Family):
    """LLaVA-1.5; the original repositories hold neither safetensors nor the tower."""

    name = "LLaVA-1.5"
    example = "llava-hf/llava-1.5-7b-hf"
    native = Native(frames=50, pathways=None, sampling="middles", fit="crop")
    hf = ("LlavaForConditionalGeneration", LlavaConfig)
    tower = CLIP

    def prompts(self, config: LlavaNextConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        return "vicuna"
