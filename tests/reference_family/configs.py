"""JSON files of the small checkpoints, except the tokenizer's."""

from tests.reference_family.anyres import NEXT_TILES, ONEVISION_TILES, pinpoints
from tests.reference_family.frames import CLIP_MEAN, CLIP_STD, HALF
from tests.reference_family.sizes import ORIGINAL, Text, Tower
from tests.reference_family.tokenizers import Words

ARCHITECTURES = {
    "llava-1.5": ("LlavaForConditionalGeneration", "llava"),
    "llava-next": ("LlavaNextForConditionalGeneration", "llava_next"),
    "next-video": ("LlavaNextVideoForConditionalGeneration", "llava_next_video"),
    "next-video-original": ("LlavaLlamaForCausalLM", "llava"),
    "onevision": ("LlavaOnevisionForConditionalGeneration", "llava_onevision"),
    "onevision-original": ("LlavaQwenForCausalLM", "llava"),
    "llava-video": ("LlavaQwenForCausalLM", "llava_qwen"),
}
_LONG = {"rope_theta": 1e6, "max_position_embeddings": 32768}
_TEXT = {
    "vicuna": ("llama", {}),
    "yi": ("llama", {"rope_theta": 5e6}),
    "mistral": ("mistral", {**_LONG, "sliding_window": None}),
    "qwen": ("qwen2", {**_LONG, "rms_norm_eps": 1e-6, "use_sliding_window": False}),
}


def _tiles(kind: str, side: int) -> list[list[int]]:
    tiles = NEXT_TILES if kind in ("llava-next", "next-video", "next-video-original") else ONEVISION_TILES
    return [list(size) for size in pinpoints(tiles, side)]


def _text(family: str, text: Text, words: Words, *, tied: bool) -> dict:
    return {
        "bos_token_id": words.bos,
        "eos_token_id": words.eos,
        "hidden_act": "silu",
        "hidden_size": text.hidden,
        "intermediate_size": text.mlp,
        "max_position_embeddings": 4096,
        "num_attention_heads": text.heads,
        "num_hidden_layers": text.layers,
        "num_key_value_heads": text.kv_heads,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": tied,
        "vocab_size": words.vocabulary,
    } | _TEXT[family][1]


def _vision(tower: Tower) -> dict:
    own = {"projection_dim": 768} if tower.kind == "clip" else {"vision_use_head": False}
    return own | {
        "hidden_size": tower.width,
        "image_size": tower.image_size,
        "intermediate_size": tower.mlp,
        "model_type": f"{tower.kind}_vision_model",
        "num_attention_heads": tower.heads,
        "num_hidden_layers": tower.layers,
        "patch_size": tower.patch,
    }


def _hf(kind: str, family: str, tower: Tower, text: dict, words: Words, dtype: str, *, module: bool) -> dict:
    text = text | {"model_type": _TEXT[family][0], "pad_token_id": words.pad}
    if module:
        text["rope_parameters"] = {"rope_theta": text.pop("rope_theta"), "rope_type": "default"}
    config = {
        "architectures": [ARCHITECTURES[kind][0]],
        "image_token_index": words.image,
        "model_type": ARCHITECTURES[kind][1],
        "projector_hidden_act": "gelu",
        "text_config": text,
        "dtype" if module else "torch_dtype": dtype,
        "vision_config": _vision(tower),
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
    }
    if kind == "llava-1.5":
        return config | {"image_seq_length": tower.grid**2}
    config |= {"image_grid_pinpoints": _tiles(kind, tower.image_size), "use_image_newline_parameter": True}
    if kind == "next-video":
        config |= {"spatial_pool_mode": "average", "spatial_pool_stride": 2, "video_token_index": words.video}
    if kind == "onevision":
        config |= {
            "video_token_index": words.video,
            "vision_aspect_ratio": "anyres_max_9",
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
        }
    return config


def _original(kind: str, tower: Tower, text: dict, dtype: str) -> dict:
    """Describe the tower by its name and width alone, as the program."""
    config = text | {
        "architectures": [ARCHITECTURES[kind][0]],
        "image_aspect_ratio": "anyres_max_9",
        "image_crop_resolution": None,
        "image_grid_pinpoints": _tiles(kind, tower.image_size),
        "image_split_resolution": None,
        "mm_hidden_size": tower.width,
        "mm_patch_merge_type": "spatial_unpad",
        "mm_projector_lr": None,
        "mm_projector_type": "mlp2x_gelu",
        "mm_resampler_type": None,
        "mm_tunable_parts": "mm_vision_tower,mm_mlp_adapter,mm_language_model",
        "mm_use_im_patch_token": False,
        "mm_use_im_start_end": False,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -2,
        "mm_vision_tower": "google/siglip-so400m-patch14-384",
        "mm_vision_tower_lr": 2e-06,
        "model_type": ARCHITECTURES[kind][1],
        "tokenizer_model_max_length": 32768,
        "tokenizer_padding_side": "right",
        "torch_dtype": dtype,
        "use_mm_proj": True,
        "vision_tower_pretrained": None,
    }
    if kind == "next-video-original":
        config |= {
            "image_aspect_ratio": "anyres",
            "mm_resampler_type": "spatial_pool",
            "mm_spatial_pool_mode": "average",
            "mm_spatial_pool_out_channels": tower.width,
            "mm_spatial_pool_stride": 2,
            "mm_vision_tower": "openai/clip-vit-large-patch14-336",
            "tokenizer_model_max_length": 4096,
        }
    if kind == "llava-video":
        config |= {
            "add_faster_video": False,
            "add_time_instruction": True,
            "faster_token_stride": 10,
            "force_sample": True,
            "mm_newline_position": "grid",
            "mm_spatial_pool_mode": "bilinear",
            "mm_spatial_pool_stride": 2,
        }
    return config


def _preprocessor(kind: str, tower: Tower) -> dict:
    side, clip = tower.image_size, tower.kind == "clip"
    square = {"height": side, "width": side}
    config = {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(CLIP_MEAN if clip else HALF),
        "image_std": list(CLIP_STD if clip else HALF),
        "resample": 3,
        "rescale_factor": 1 / 255,
    }
    if clip:
        config |= {"crop_size": square, "do_center_crop": True, "size": {"shortest_edge": side}}
    else:
        config |= {"size": square}
    if kind == "llava-1.5":
        return config | {"image_processor_type": "CLIPImageProcessor", "processor_class": "LlavaProcessor"}
    name = "LlavaOnevision" if kind == "onevision" else "LlavaNext"
    processor = "LlavaNextVideoProcessor" if kind == "next-video" else f"{name}Processor"
    return config | {
        "do_pad": True,
        "image_grid_pinpoints": _tiles(kind, side),
        "image_processor_type": f"{name}ImageProcessor",
        "processor_class": processor,
    }


def _processor(kind: str, tower: Tower) -> dict:
    config = {"image_token": "<image>", "processor_class": _preprocessor(kind, tower)["processor_class"]}
    if kind == "onevision":
        return config | {
            "num_image_tokens": tower.grid**2,
            "video_token": "<video>",
            "vision_aspect_ratio": "anyres_max_9",
            "vision_feature_select_strategy": "full",
        }
    if kind == "next-video":
        config["video_token"] = "<video>"
    config |= {"num_additional_image_tokens": 1, "patch_size": tower.patch}
    return config | {"vision_feature_select_strategy": "default"}


def _chat_template(family: str) -> str:
    parts = (
        "{% for part in message['content'] if part['type'] in ('image', 'video') %}"
        "{{ '<' + part['type'] + '>\\n' }}{% endfor %}"
        "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    )
    before, after, start = {
        "vicuna": ("{{ message['role'].upper() + ': ' }}", "{{ ' ' }}", "{{ 'ASSISTANT:' }}"),
        "mistral": ("{% if message['role'] == 'user' %}{{ '[INST] ' }}{% endif %}", "{{ ' [/INST]' }}", ""),
    }.get(
        family,
        (
            "{{ '<|im_start|>' + message['role'] + '\\n' }}",
            "{{ '<|im_end|>\\n' }}",
            "{{ '<|im_start|>assistant\\n' }}",
        ),
    )
    loop = f"{{% for message in messages %}}{before}{parts}{after}{{% endfor %}}"
    return loop + "{% if add_generation_prompt %}" + start + "{% endif %}"


def files(
    kind: str, family: str, tower: Tower, text: Text, words: Words, *, dtype: str, tied: bool, module: bool
) -> dict[str, dict]:
    """Return all files by name."""
    language = _text(family, text, words, tied=tied)
    generation = {"bos_token_id": words.bos, "eos_token_id": words.eos, "pad_token_id": words.pad}
    if family == "qwen":
        generation["eos_token_id"] = [words.eos, words.pad]
    if kind in ORIGINAL:
        return {"config.json": _original(kind, tower, language, dtype), "generation_config.json": generation}
    return {
        "chat_template.json": {"chat_template": _chat_template(family)},
        "config.json": _hf(kind, family, tower, language, words, dtype, module=module),
        "generation_config.json": generation,
        "preprocessor_config.json": _preprocessor(kind, tower),
        "processor_config.json": _processor(kind, tower),
    }
