"""Relatives that no family supports, to be refused by name.

Data only; `families.refusal` reads config.json by it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

_ANY = ".*"


@dataclass(frozen=True)
class Relative:
    """A checkpoint of the LLaVA kind that no family supports.

    Attributes:
        architecture: a regular expression over the architecture in config.json.
        why: what makes it another method.
        instead: what to use.
        fields: regular expressions by key; any one of them tells it from a supported family with the same
            architecture, and null counts as absent.
    """

    name: str
    architecture: str
    why: str
    instead: str
    fields: Mapping[str, str] = field(default_factory=dict)


_ANOTHER = "use llava-hf/llava-onevision-qwen2-7b-ov-hf"

#: The first one that matches is named, so the narrower ones come first.
RELATIVES = (
    Relative(
        "Video-LLaVA",
        "VideoLlavaForConditionalGeneration",
        "it has a second tower for videos",
        "use llava-hf/LLaVA-NeXT-Video-7B-hf",
        {"mm_video_tower": _ANY, "mm_image_tower": _ANY},
    ),
    Relative(
        "a port of LLaVA-Video",
        "LlavaNextVideo2ForConditionalGeneration",
        "no release of transformers has its class",
        "use lmms-lab/LLaVA-Video-7B-Qwen2",
    ),
    Relative(
        "LLaVA-OneVision-1.5",
        "LLaVAOneVision1_5_?ForConditionalGeneration",
        "its tower has no fixed grid",
        _ANOTHER,
    ),
    Relative(
        "LLaVA-OneVision-2",
        "LlavaOnevision2ForConditionalGeneration",
        "its tower has no fixed grid",
        f"{_ANOTHER}, or serve it with vLLM alone",
    ),
    Relative(
        "LLaVA-1.5 in the original format",
        "(?!)",
        "its repository holds neither safetensors nor the tower",
        "use llava-hf/llava-1.5-7b-hf",
        {"image_aspect_ratio": "pad", "mm_patch_merge_type": "flat"},
    ),
)
