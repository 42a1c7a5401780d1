"""Random weights, named as in transformers 5.

Each tensor depends only on seed, name and shape.
"""

import zlib

import torch
from torch import Tensor

from tests.reference_family.sizes import Text, Tower


class Draw:
    """A growing set of random weights."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.weights: dict[str, Tensor] = {}

    def normal(self, name: str, *shape: int, std: float, mean: float = 0.0) -> None:
        generator = torch.Generator().manual_seed(zlib.crc32(f"{self.seed}/{name}".encode()))
        self.weights[name] = mean + std * torch.randn(shape, generator=generator)

    def linear(self, name: str, outputs: int, inputs: int, *, gain: float = 1.0, bias: bool = True) -> None:
        self.normal(f"{name}.weight", outputs, inputs, std=gain * inputs**-0.5)
        if bias:
            self.normal(f"{name}.bias", outputs, std=0.1)

    def norm(self, name: str, size: int, *, bias: bool) -> None:
        self.normal(f"{name}.weight", size, std=0.1, mean=1.0)
        if bias:
            self.normal(f"{name}.bias", size, std=0.1)


def draw_tower(draw: Draw, tower: Tower) -> None:
    """Draw a tower, with the unused last norm of the real files."""
    root, width = "model.vision_tower", tower.width
    clip = tower.kind == "clip"
    patch = f"{root}.embeddings.patch_embedding"
    draw.normal(f"{patch}.weight", width, 3, tower.patch, tower.patch, std=(3 * tower.patch**2) ** -0.5)
    if clip:
        draw.normal(f"{root}.embeddings.class_embedding", width, std=0.5)
        draw.norm(f"{root}.pre_layrnorm", width, bias=True)
    else:
        draw.normal(f"{patch}.bias", width, std=0.1)
    draw.normal(f"{root}.embeddings.position_embedding.weight", tower.grid**2 + clip, width, std=0.3)
    draw.norm(f"{root}.post_layernorm", width, bias=True)
    for i in range(tower.layers):
        layer = f"{root}.encoder.layers.{i}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            draw.linear(f"{layer}.self_attn.{name}", width, width)
        draw.linear(f"{layer}.mlp.fc1", tower.mlp, width)
        draw.linear(f"{layer}.mlp.fc2", width, tower.mlp)
        for name in ("layer_norm1", "layer_norm2"):
            draw.norm(f"{layer}.{name}", width, bias=True)


def draw_text(draw: Draw, text: Text, pieces: int, *, qkv_bias: bool, tied: bool) -> None:
    """Draw a language model.

    Its attention is sharp, so that the answer depends on the video.
    """
    root, width = "model.language_model", text.hidden
    narrow = width // text.heads * text.kv_heads
    draw.normal(f"{root}.embed_tokens.weight", pieces, width, std=0.3 if tied else 1.5)
    for i in range(text.layers):
        layer = f"{root}.layers.{i}"
        draw.linear(f"{layer}.self_attn.q_proj", width, width, gain=2.5, bias=qkv_bias)
        draw.linear(f"{layer}.self_attn.k_proj", narrow, width, gain=2.5, bias=qkv_bias)
        draw.linear(f"{layer}.self_attn.v_proj", narrow, width, gain=2.0, bias=qkv_bias)
        draw.linear(f"{layer}.self_attn.o_proj", width, width, gain=2.0, bias=False)
        draw.linear(f"{layer}.mlp.gate_proj", text.mlp, width, bias=False)
        draw.linear(f"{layer}.mlp.up_proj", text.mlp, width, bias=False)
        draw.linear(f"{layer}.mlp.down_proj", width, text.mlp, bias=False)
        draw.norm(f"{layer}.input_layernorm", width, bias=False)
        draw.norm(f"{layer}.post_attention_layernorm", width, bias=False)
    draw.norm(f"{root}.norm", width, bias=False)
    if not tied:
        draw.linear("lm_head", pieces, width, gain=3.0, bias=False)


def _fill(rows: Tensor, vocabulary: int) -> Tensor:
    """Append rows of zeros, which never win: their logit is 0."""
    return torch.cat([rows, rows.new_zeros(vocabulary - len(rows), rows.shape[1])])


def draw_all(
    seed: int, tower: Tower, text: Text, *, pieces: int, vocabulary: int, newline: bool, qkv_bias: bool, tied: bool
) -> dict[str, Tensor]:
    """Draw a whole model, with zeros for words without a token."""
    draw = Draw(seed)
    draw_tower(draw, tower)
    draw.linear("model.multi_modal_projector.linear_1", text.hidden, tower.width)
    draw.linear("model.multi_modal_projector.linear_2", text.hidden, text.hidden)
    if newline:
        draw.normal("model.image_newline", text.hidden, std=1.0)
    draw_text(draw, text, pieces, qkv_bias=qkv_bias, tied=tied)
    for name in ("model.language_model.embed_tokens.weight", "lm_head.weight"):
        if name in draw.weights:
            draw.weights[name] = _fill(draw.weights[name], vocabulary)
    return draw.weights
