"""A LLaVA-OneVision checkpoint with random weights: SigLIP's patches and heads, fewer layers."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration, Qwen2Config, SiglipVisionConfig

from examples.random_checkpoint import Geometry
from examples.random_tokenizers import write_tokenizer

_HEAD = 72


@dataclass(frozen=True)
class SiglipGeometry(Geometry):
    """Sizes of a model whose tower is a SigLIP, with heads of 72."""

    image_size: int = 384
    patch_size: int = 14

    @property
    def tower_heads(self) -> int:
        return self.tower_hidden // _HEAD


#: SigLIP-SO400M's width, with 6 of its 26 layers; the width and the heads of Qwen2 0.5B, with 8 of its 24 layers.
MIDDLE = SiglipGeometry(
    tower_hidden=1152,
    tower_layers=6,
    tower_mlp=4304,
    text_hidden=896,
    text_layers=8,
    text_heads=14,
    text_kv_heads=2,
    text_mlp=4864,
)
SMALL = SiglipGeometry(tower_hidden=144, tower_layers=3, tower_mlp=538)


def write_checkpoint(folder: Path, *, geometry: SiglipGeometry, dtype: torch.dtype) -> Path:
    """Write a whole repository, as transformers 5 saves it, and return it."""
    folder.mkdir(parents=True)
    ids = write_tokenizer(folder, "qwen", layout="hf")
    model = LlavaOnevisionForConditionalGeneration(_config(geometry, ids))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(_random(name, weight))
        # Ids beyond the tokenizer's never win.
        model.lm_head.weight[ids.pieces :] = 0
    model.to(dtype).save_pretrained(folder)
    side = {"height": geometry.image_size, "width": geometry.image_size}
    half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "rescale_factor": 1 / 255, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": side, **half}), encoding="utf-8")
    return folder


def _config(g: SiglipGeometry, ids) -> LlavaOnevisionConfig:
    text = Qwen2Config(
        hidden_size=g.text_hidden,
        num_hidden_layers=g.text_layers,
        num_attention_heads=g.text_heads,
        num_key_value_heads=g.text_kv_heads,
        intermediate_size=g.text_mlp,
        vocab_size=ids.padded,
        max_position_embeddings=32768,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        eos_token_id=ids.eos,
    )
    vision = SiglipVisionConfig(
        hidden_size=g.tower_hidden,
        num_hidden_layers=g.tower_layers,
        num_attention_heads=g.tower_heads,
        intermediate_size=g.tower_mlp,
        image_size=g.image_size,
        patch_size=g.patch_size,
    )
    vision.vision_use_head = False
    return LlavaOnevisionConfig(
        text_config=text,
        vision_config=vision,
        image_token_index=ids.image,
        architectures=["LlavaOnevisionForConditionalGeneration"],
    )


def _random(name: str, like: torch.Tensor) -> torch.Tensor:
    """Draw a weight so that activations keep their size, and answers depend on the video."""
    draw = torch.randn(like.shape, generator=torch.Generator().manual_seed(sum(name.encode())))
    if "norm" in name and name.endswith("weight"):
        return 1 + 0.1 * draw
    if like.dim() == 1:
        return draw if name.endswith("image_newline") else 0.1 * draw
    if "embed_tokens" in name:
        return 1.5 * draw
    if "position_embedding" in name:
        return 0.3 * draw
    return draw * like[0].numel() ** -0.5
