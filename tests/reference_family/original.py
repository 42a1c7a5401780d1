"""Read original checkpoints with SigLIP and Qwen2 into transformers' OneVision classes."""

import math

from torch import Tensor
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Qwen2Config,
    SiglipVisionConfig,
)

from tests.reference_family.names import from_original

HEAD = 72  # channels of SigLIP's heads, which no file records
_TOWER, _LINEAR = "model.vision_tower.", "model.multi_modal_projector."
_SHARED = ("architectures", "model_type", "torch_dtype", "dtype")


def _image_size(positions: int) -> int:
    """Guess the size: 384 is no multiple of 14, so positions cannot give it."""
    grid = math.isqrt(positions)
    return 384 if grid == 27 else grid * 14


def _config(settings: dict, weights: dict[str, Tensor]) -> LlavaOnevisionConfig:
    positions = weights[f"{_TOWER}embeddings.position_embedding.weight"]
    layers = {name.split(".")[4] for name in weights if name.startswith(f"{_TOWER}encoder.layers.")}
    vision = SiglipVisionConfig(
        hidden_size=positions.shape[1],
        image_size=_image_size(len(positions)),
        intermediate_size=len(weights[f"{_TOWER}encoder.layers.0.mlp.fc1.bias"]),
        num_attention_heads=positions.shape[1] // HEAD,
        num_hidden_layers=len(layers),
        patch_size=14,
    )
    vision.vision_use_head = False
    config = LlavaOnevisionConfig(
        vision_config=vision,
        text_config=Qwen2Config(**{name: value for name, value in settings.items() if name not in _SHARED}),
        image_grid_pinpoints=settings["image_grid_pinpoints"],
        vision_feature_layer=-1,  # the files lack the 27th layer already
        vision_feature_select_strategy="full",
    )
    config._attn_implementation = "eager"
    return config


def load(settings: dict, weights: dict[str, Tensor]) -> LlavaOnevisionForConditionalGeneration:
    """Build the model from config.json and the program's weights in float32."""
    weights = {from_original(name): weight for name, weight in weights.items() if name != "model.faster_token"}
    model = LlavaOnevisionForConditionalGeneration(_config(settings, weights)).float().eval()
    if settings["tie_word_embeddings"]:
        weights["lm_head.weight"] = weights["model.language_model.embed_tokens.weight"]
    model.load_state_dict(weights)
    return model
