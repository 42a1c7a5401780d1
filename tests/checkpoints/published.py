"""The config.json of published repositories, without the fields that only their language models read."""

PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
SQUARES = [[384 * rows, 384 * columns] for rows in range(1, 7) for columns in range(1, 7)]
CLIP, SIGLIP = "openai/clip-vit-large-patch14-336", "google/siglip-so400m-patch14-384"


def without(config: dict, *keys: str) -> dict:
    return {key: value for key, value in config.items() if key not in keys}


NEXT = {
    "architectures": ["LlavaLlamaForCausalLM"],
    "freeze_mm_mlp_adapter": False,
    "freeze_mm_vision_resampler": False,
    "image_aspect_ratio": "anyres",
    "image_crop_resolution": 224,
    "image_grid_pinpoints": PINPOINTS,
    "image_split_resolution": 224,
    "mm_hidden_size": 1024,
    "mm_patch_merge_type": "spatial_unpad",
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
MISTRAL = NEXT | {"architectures": ["LlavaMistralForCausalLM"], "model_type": "llava_mistral"}
SPATIAL_POOL = {
    "mm_resampler_type": "spatial_pool",
    "mm_spatial_pool_mode": "average",
    "mm_spatial_pool_out_channels": 1024,
    "mm_spatial_pool_stride": 2,
}
ONEVISION = NEXT | {
    "architectures": ["LlavaQwenForCausalLM"],
    "image_aspect_ratio": "anyres_max_9",
    "image_crop_resolution": None,
    "image_grid_pinpoints": SQUARES,
    "image_split_resolution": None,
    "mm_hidden_size": 1152,
    "mm_spatial_pool_mode": "bilinear",
    "mm_spatial_pool_stride": None,
    "mm_tunable_parts": "mm_vision_tower,mm_mlp_adapter,mm_language_model",
    "mm_vision_tower": SIGLIP,
    "model_type": "llava",
    "use_pos_skipping": False,
    "vision_tower_pretrained": None,
}
LLAVA_VIDEO = ONEVISION | {
    "add_faster_video": False,
    "add_time_instruction": True,
    "faster_token_stride": 10,
    "force_sample": True,
    "mm_newline_position": "grid",
    "mm_spatial_pool_stride": 2,
    "model_type": "llava_qwen",
}
ORIGINAL_15 = without(
    NEXT, "image_crop_resolution", "image_grid_pinpoints", "image_split_resolution", "mm_patch_merge_type"
) | {"image_aspect_ratio": "pad", "mm_vision_tower_lr": None, "unfreeze_mm_vision_tower": False}

HF_NEXT = {
    "architectures": ["LlavaNextForConditionalGeneration"],
    "image_grid_pinpoints": PINPOINTS,
    "image_token_index": 32000,
    "model_type": "llava_next",
    "projector_hidden_act": "gelu",
    "use_image_newline_parameter": True,
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
HF_ONEVISION = HF_NEXT | {
    "architectures": ["LlavaOnevisionForConditionalGeneration"],
    "image_grid_pinpoints": SQUARES,
    "image_token_index": 151646,
    "model_type": "llava_onevision",
    "video_token_index": 151647,
    "vision_aspect_ratio": "anyres_max_9",
    "vision_feature_layer": -1,
    "vision_feature_select_strategy": "full",
}
HF_15 = without(HF_NEXT, "image_grid_pinpoints", "use_image_newline_parameter") | {
    "architectures": ["LlavaForConditionalGeneration"],
    "model_type": "llava",
}

PLLAVA = HF_15 | {
    "architectures": ["PllavaForConditionalGeneration"],
    "frame_shape": [24, 24],
    "num_frames": 16,
    "pooling_method": "avg",
    "pooling_shape": [16, 12, 12],
    "use_pooling": True,
}

#: By repository: the family's name, the format, and the configuration.
PUBLISHED = {
    "liuhaotian/llava-v1.6-vicuna-7b": ("LLaVA-NeXT", "original", NEXT | {"pretrain_mm_mlp_adapter": None}),
    "liuhaotian/llava-v1.6-34b": ("LLaVA-NeXT", "original", NEXT | {"vocab_size": 64000, "rope_theta": 5000000.0}),
    "liuhaotian/llava-v1.6-mistral-7b": ("LLaVA-NeXT", "original", MISTRAL),
    "lmms-lab/llama3-llava-next-8b": ("LLaVA-NeXT", "original", NEXT | {"model_type": "llava_llama"}),
    "a tower in a folder": (
        "LLaVA-NeXT",
        "original",
        NEXT | {"mm_vision_tower": "/models/clip-vit-large-patch14-336/"},
    ),
    "trained later": (
        "LLaVA-NeXT",
        "original",
        NEXT | {"mm_tunable_parts": "mm_mlp_adapter", "mm_spatial_pool_stride": None},
    ),
    "llava-hf/llava-v1.6-vicuna-7b-hf": ("LLaVA-NeXT", "hf", HF_NEXT),
    "llava-hf/llava-1.5-7b-hf": ("LLaVA-1.5", "hf", HF_15),
    "llava-hf/llava-onevision-qwen2-7b-ov-hf": ("LLaVA-OneVision", "hf", HF_ONEVISION),
    "lmms-lab/llava-onevision-qwen2-7b-ov": ("LLaVA-OneVision", "original", ONEVISION),
    "lmms-lab/llava-onevision-qwen2-7b-ov-chat": (
        "LLaVA-OneVision",
        "original",
        ONEVISION | {"mm_newline_position": "one_token"},
    ),
    "lmms-lab/llava-onevision-qwen2-0.5b-si": (
        "LLaVA-OneVision",
        "original",
        without(ONEVISION, "mm_spatial_pool_mode", "mm_spatial_pool_stride") | {"tie_word_embeddings": True},
    ),
    "lmms-lab/LLaVA-Video-7B-Qwen2": ("LLaVA-Video", "original", LLAVA_VIDEO),
    "LLaVA-Video without its options": (
        "LLaVA-Video",
        "original",
        without(LLAVA_VIDEO, "add_faster_video", "add_time_instruction", "faster_token_stride", "force_sample"),
    ),
    "LLaVA-Video by its options": (
        "LLaVA-Video",
        "original",
        without(LLAVA_VIDEO, "mm_newline_position"),
    ),
    "ermu2001/pllava-7b": ("PLLaVA", "hf", PLLAVA | {"architectures": ["PlavaForConditionalGeneration"]}),
    "ermu2001/pllava-13b": ("PLLaVA", "hf", PLLAVA),
    "PLLaVA by its fields": ("PLLaVA", "hf", PLLAVA | {"architectures": HF_15["architectures"]}),
    "lmms-lab/LLaVA-NeXT-Video-7B": ("LLaVA-NeXT-Video", "original", NEXT | SPATIAL_POOL),
    "lmms-lab/LLaVA-NeXT-Video-7B-32K": ("LLaVA-NeXT-Video", "original", MISTRAL | SPATIAL_POOL),
    "llava-hf/LLaVA-NeXT-Video-7B-hf": ("LLaVA-NeXT-Video", "hf", HF_NEXT_VIDEO),
    "an early revision of it": ("LLaVA-NeXT-Video", "hf", HF_NEXT_VIDEO | {"model_type": "llava_next"}),
    "one with the architecture of LLaVA-NeXT": (
        "LLaVA-NeXT-Video",
        "hf",
        HF_NEXT_VIDEO | {"architectures": HF_NEXT["architectures"], "model_type": "llava_next"},
    ),
}
