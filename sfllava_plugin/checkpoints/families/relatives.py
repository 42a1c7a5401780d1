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
        fields: regular expressions by key; a match on any of them tells it from a supported family with the
            same architecture. null counts as absent.
        served: a checkpoint of it that vLLM serves without this package.
    """

    name: str
    architecture: str
    why: str
    fields: Mapping[str, str] = field(default_factory=dict)
    served: str | None = None


#: The first match is named, so the narrower ones come first.
RELATIVES = (
    Relative(
        "Video-LLaVA",
        "VideoLlavaForConditionalGeneration",
        "it has a second tower for videos",
        {"mm_video_tower": _ANY, "mm_image_tower": _ANY},
    ),
    Relative(
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
    Relative("LLaVA-OneVision-1.5", "LLaVAOneVision1_5_?ForConditionalGeneration", "its tower has no fixed grid"),
    Relative("LLaVA-OneVision-2", "LlavaOnevision2ForConditionalGeneration", "its tower has no fixed grid"),
    Relative(
        "LLaVA-OneVision",
        "LlavaOnevisionForConditionalGeneration",
        "it has a SigLIP tower, and pools to 14x14",
        {"mm_vision_tower": ".*siglip.*", "image_aspect_ratio": "anyres_max_.*", "vision_aspect_ratio": _ANY},
        "llava-hf/llava-onevision-qwen2-7b-ov-hf",
    ),
    Relative(
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
    Relative(
        "PLLaVA",
        "Pl?lavaForConditionalGeneration",
        "it has adapters to merge, and prompts of its own",
        {"pooling_shape": _ANY, "frame_shape": _ANY},
    ),
    Relative(
        "LLaVA-1.5",
        "LlavaForConditionalGeneration",
        "it was trained on one view of each image, with other prompts",
        {"image_aspect_ratio": "pad", "mm_patch_merge_type": "flat"},
        "llava-hf/llava-1.5-7b-hf",
    ),
)
