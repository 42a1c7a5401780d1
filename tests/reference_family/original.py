"""Read original checkpoints into transformers' classes: SigLIP and Qwen2, or LLaVA-NeXT-Video's CLIP and Llama."""

import math

from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedModel,
    Qwen2Config,
    SiglipVisionConfig,
)

from tests.reference_family.names import from_original

ARCHITECTURES = ("LlavaQwenForCausalLM", "LlavaLlamaForCausalLM")
HEADS = {"siglip": 72, "clip": 64}  # channels of a head, which no file records
VICUNA_THETA = 10000.0
_TOWER, _LINEAR = "model.vision_tower.", "model.multi_modal_projector."
_SHARED = ("architectures", "model_type", "torch_dtype", "dtype")


def rope_factor(frames: int = 32, positions: int = 4096) -> float:
    """Scale Vicuna's positions as LLaVA-NeXT-Video's program: for 144 tokens a frame, and 1000 more."""
    return float(math.ceil((frames * (24 // 2) ** 2 + 1000) / positions))


def _image_size(positions: int) -> int:
    """Guess the size: 384 is no multiple of 14, so positions cannot give it."""
    grid = math.isqrt(positions)
    return 384 if grid == 27 else grid * 14


def _vision(weights: dict[str, Tensor], kind: str) -> dict:
    """Read the shape of a tower; CLIP's first position is its class token's."""
    positions = weights[f"{_TOWER}embeddings.position_embedding.weight"]
    layers = {name.split(".")[4] for name in weights if name.startswith(f"{_TOWER}encoder.layers.")}
    return {
        "hidden_size": positions.shape[1],
        "image_size": _image_size(len(positions) - (kind == "clip")),
        "intermediate_size": len(weights[f"{_TOWER}encoder.layers.0.mlp.fc1.bias"]),
        "num_attention_heads": positions.shape[1] // HEADS[kind],
        "num_hidden_layers": len(layers),
        "patch_size": 14,
    }


def _text(settings: dict) -> dict:
    return {name: value for name, value in settings.items() if name not in _SHARED}


def _onevision(settings: dict, weights: dict[str, Tensor]) -> LlavaOnevisionConfig:
    vision = SiglipVisionConfig(**_vision(weights, "siglip"))
    vision.vision_use_head = False
    return LlavaOnevisionConfig(
        vision_config=vision,
        text_config=Qwen2Config(**_text(settings)),
        image_grid_pinpoints=settings["image_grid_pinpoints"],
        vision_feature_layer=-1,  # the files lack the 27th layer already
        vision_feature_select_strategy="full",
    )


def _next_video(settings: dict, weights: dict[str, Tensor]) -> LlavaNextVideoConfig:
    text = LlamaConfig(**_text(settings))
    if settings["rope_theta"] == VICUNA_THETA:  # the program looks for "vicuna" in the model's name
        text.rope_parameters = {"rope_type": "linear", "rope_theta": VICUNA_THETA, "factor": rope_factor()}
    return LlavaNextVideoConfig(
        vision_config=CLIPVisionConfig(**_vision(weights, "clip")),
        text_config=text,
        image_grid_pinpoints=settings["image_grid_pinpoints"],
        spatial_pool_mode=settings["mm_spatial_pool_mode"],
        spatial_pool_stride=settings["mm_spatial_pool_stride"],
        vision_feature_layer=settings["mm_vision_select_layer"],
        vision_feature_select_strategy="default",
    )


def load(settings: dict, weights: dict[str, Tensor]) -> PreTrainedModel:
    """Build the model from config.json and the program's weights in float32."""
    weights = {from_original(name): weight for name, weight in weights.items() if name != "model.faster_token"}
    if settings["architectures"] == ["LlavaQwenForCausalLM"]:
        config, kind = _onevision(settings, weights), LlavaOnevisionForConditionalGeneration
    else:
        config, kind = _next_video(settings, weights), LlavaNextVideoForConditionalGeneration
    config._attn_implementation = "eager"
    model = kind(config).float().eval()
    if settings["tie_word_embeddings"]:
        weights["lm_head.weight"] = weights["model.language_model.embed_tokens.weight"]
    model.load_state_dict(weights)
    return model
