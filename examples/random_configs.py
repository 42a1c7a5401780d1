"""Write the JSON files of LLaVA-NeXT repositories, except the tokenizer's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from examples.random_tokenizers import FAMILIES, IMAGE, Ids

if TYPE_CHECKING:
    from examples.random_checkpoint import Geometry

CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]


# Per family: text model type, model type and class in the original program, settings that differ.
_TEXT = {
    "vicuna": ("llama", "llava", "LlavaLlamaForCausalLM", {}),
    "yi": ("llama", "llava", "LlavaLlamaForCausalLM", {"rope_theta": 5e6}),
    "mistral": (
        "mistral",
        "llava_mistral",
        "LlavaMistralForCausalLM",
        {"rope_theta": 1e6, "max_position_embeddings": 32768, "sliding_window": None},
    ),
    "llama3": (
        "llama",
        "llava_llama",
        "LlavaLlamaForCausalLM",
        {"rope_theta": 5e5, "max_position_embeddings": 8192},
    ),
    "qwen": (
        "qwen2",
        "llava_qwen",
        "LlavaQwenForCausalLM",
        {"rope_theta": 1e6, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6},
    ),
}
_TEXT_CLASS = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
}


def _text_config(g: Geometry, family: str, ids: Ids, vocab: int) -> dict:
    return {
        "attention_bias": False,
        "bos_token_id": ids.bos,
        "eos_token_id": ids.eos,
        "hidden_act": "silu",
        "hidden_size": g.text_hidden,
        "intermediate_size": g.text_mlp,
        "max_position_embeddings": 4096,
        "num_attention_heads": g.text_heads,
        "num_hidden_layers": g.text_layers,
        "num_key_value_heads": g.text_kv_heads,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "vocab_size": vocab,
    } | _TEXT[family][3]


def _pinpoints(size: int) -> list[list[int]]:
    return [[size * h, size * w] for h, w in ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))]


def _hf_config(g: Geometry, family: str, ids: Ids, vocab: int, kind: str, dtype: str) -> dict:
    model_type, new = _TEXT[family][0], kind != "published"
    text = _text_config(g, family, ids, vocab)
    text |= {
        "architectures": [_TEXT_CLASS[model_type]],
        "model_type": model_type,
        "pad_token_id": ids.pad,
    }
    vision = {
        "hidden_size": g.tower_hidden,
        "image_size": g.image_size,
        "intermediate_size": g.tower_mlp,
        "model_type": "clip_vision_model",
        "num_attention_heads": g.tower_heads,
        "num_hidden_layers": g.tower_layers,
        "patch_size": g.patch_size,
        "projection_dim": 768,
    }
    config = {
        "architectures": ["LlavaNextForConditionalGeneration"],
        "image_grid_pinpoints": _pinpoints(g.image_size),
        "image_token_index": ids.image,
        "model_type": "llava_next",
        "projector_hidden_act": "gelu",
        "text_config": text,
        "tie_word_embeddings": False,
        "vision_config": vision,
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
    }
    if new:
        theta = text.pop("rope_theta")
        text["rope_parameters"] = {"rope_theta": theta, "rope_type": "default"}
        text["head_dim"] = g.text_hidden // g.text_heads
        return config | {"dtype": dtype, "multimodal_projector_bias": True}
    text["torch_dtype"] = dtype
    return config | {
        "torch_dtype": dtype,
        "ignore_index": -100,
        "use_image_newline_parameter": True,
    }


def _original_config(g: Geometry, family: str, ids: Ids, vocab: int, dtype: str) -> dict:
    _, model_type, architecture, _ = _TEXT[family]
    return _text_config(g, family, ids, vocab) | {
        "architectures": [architecture],
        "freeze_mm_mlp_adapter": False,
        "image_aspect_ratio": "anyres",
        "image_crop_resolution": 224,
        "image_grid_pinpoints": _pinpoints(g.image_size),
        "image_split_resolution": 224,
        "mm_hidden_size": g.tower_hidden,
        "mm_patch_merge_type": "spatial_unpad",
        "mm_projector_type": "mlp2x_gelu",
        "mm_resampler_type": None,
        "mm_use_im_patch_token": False,
        "mm_use_im_start_end": False,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -2,
        "mm_vision_tower": "openai/clip-vit-large-patch14-336",
        "mm_vision_tower_lr": 2e-06,
        "model_type": model_type,
        "pad_token_id": 0,
        "rope_scaling": None,
        "tokenizer_model_max_length": 4096,
        "tokenizer_padding_side": "right",
        "torch_dtype": dtype,
        "tune_mm_mlp_adapter": False,
        "unfreeze_mm_vision_tower": True,
        "use_cache": True,
        "use_mm_proj": True,
    }


def _generation_config(family: str, ids: Ids, kind: str) -> dict:
    config = {"bos_token_id": ids.bos, "eos_token_id": ids.eos}
    if kind == "original":
        config |= {"pad_token_id": 0}
        if family == "vicuna":  # as published; an engine using these as defaults would sample
            config |= {"max_length": 4096, "temperature": 0.9, "top_p": 0.6}
        return config
    return {"_from_model_config": True, **config, "pad_token_id": ids.pad}


def _preprocessor_config(g: Geometry) -> dict:
    return {
        "aspect_ratio_setting": "anyres",
        "crop_size": {"height": g.image_size, "width": g.image_size},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_pad": True,
        "do_rescale": True,
        "do_resize": True,
        "image_grid_pinpoints": _pinpoints(g.image_size),
        "image_mean": CLIP_MEAN,
        "image_processor_type": "LlavaNextImageProcessor",
        "image_std": CLIP_STD,
        "processor_class": "LlavaNextProcessor",
        "resample": 3,
        "rescale_factor": 0.00392156862745098,
        "size": {"shortest_edge": g.image_size},
    }


def _processor_config(g: Geometry) -> dict:
    return {
        "image_token": IMAGE,
        "num_additional_image_tokens": 1,
        "patch_size": g.patch_size,
        "processor_class": "LlavaNextProcessor",
        "vision_feature_select_strategy": "default",
    }


def write_configs(
    folder: Path,
    g: Geometry,
    family: str,
    ids: Ids,
    *,
    vocab: int,
    kind: str,
    dtype: torch.dtype,
) -> None:
    """Write the files; `kind` is "original", or a naming of layout hf."""
    precision = str(dtype).removeprefix("torch.")
    files = {"generation_config.json": _generation_config(family, ids, kind)}
    if kind == "original":
        files["config.json"] = _original_config(g, family, ids, vocab, precision)
    else:
        files["config.json"] = _hf_config(g, family, ids, vocab, kind, precision)
        processor, images = _processor_config(g), _preprocessor_config(g)
        files["processor_config.json"] = processor
        template = FAMILIES[family].chat_template
        if kind == "published":
            files["preprocessor_config.json"] = images
            files["chat_template.json"] = {"chat_template": template}
        else:  # transformers 5 merges both into one file
            del images["processor_class"]
            processor["image_processor"] = images
            (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    for name, content in files.items():
        text = json.dumps(content, indent=2, sort_keys=True)
        (folder / name).write_text(text + "\n", encoding="utf-8")
