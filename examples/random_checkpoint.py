"""Write LLaVA-NeXT checkpoints with random weights, like the hub's repositories.

    python -m examples.random_checkpoint FOLDER [--layout original] [--family yi] [--geometry small]

Names, files and the grid of visual tokens are those of the real checkpoints. Width and depth are smaller, so that 50
frames take a few seconds on a CPU. Answers mean nothing, but they depend on the frames. Seed and geometry alone decide
the weights, whatever the layout.
"""

import argparse
import json
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from examples.random_configs import write_configs
from examples.random_tokenizers import FAMILIES, Ids, write_tokenizer

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Geometry:
    """Sizes of a model.

    The tower has hidden / 64 heads, as every CLIP: the original layout does not record them.
    """

    image_size: int
    patch_size: int
    tower_hidden: int = 128
    tower_layers: int = 4
    tower_mlp: int = 256
    text_hidden: int = 128
    text_layers: int = 2
    text_heads: int = 4
    text_kv_heads: int = 2
    text_mlp: int = 256
    vocab_size: int | None = None  # None: what the tokenizer needs, padded as in the layout

    @property
    def tower_heads(self) -> int:
        return self.tower_hidden // 64

    @property
    def grid(self) -> int:
        return self.image_size // self.patch_size


REAL_GRID = Geometry(image_size=336, patch_size=14)
SMALL = Geometry(image_size=48, patch_size=8, tower_layers=3)
GEOMETRIES = {"real-grid": REAL_GRID, "small": SMALL}

LAYOUTS = ("hf", "original")
# published: as in the llava-hf repositories; transformers5: as save_pretrained writes them;
# module: names of the parameters in transformers 5.
NAMES = ("published", "transformers5", "module")

_OWN_FILES = (
    "model.safetensors",
    "model-0*-of-0*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer.model",
    "chat_template.json",
    "chat_template.jinja",
    "preprocessor_config.json",
    "processor_config.json",
)

_RENAMES = {
    "published": [],
    "transformers5": [(r"^vision_tower\.vision_model\.", "vision_tower.")],
    "module": [
        (r"^language_model\.lm_head\.", "lm_head."),
        (r"^language_model\.model\.", "model.language_model."),
        (r"^vision_tower\.vision_model\.", "model.vision_tower."),
        (r"^(multi_modal_projector\.|image_newline$)", r"model.\1"),
    ],
    "original": [
        (r"^language_model\.", ""),
        (r"^vision_tower\.", "model.vision_tower.vision_tower."),
        (r"^multi_modal_projector\.linear_1\.", "model.mm_projector.0."),
        (r"^multi_modal_projector\.linear_2\.", "model.mm_projector.2."),
        (r"^image_newline$", "model.image_newline"),
    ],
}


class _Draw:
    """Random tensors, each depending only on seed, name and shape."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.weights: Weights = {}

    def normal(self, name: str, *shape: int, std: float, mean: float = 0.0) -> None:
        generator = torch.Generator().manual_seed(zlib.crc32(f"{self.seed} {name}".encode()))
        self.weights[name] = torch.randn(shape, generator=generator) * std + mean

    def linear(self, name: str, out: int, inp: int, *, gain: float = 1.0, bias: bool) -> None:
        self.normal(f"{name}.weight", out, inp, std=gain * inp**-0.5)
        if bias:
            self.normal(f"{name}.bias", out, std=0.1)

    def norm(self, name: str, size: int, *, bias: bool) -> None:
        self.normal(f"{name}.weight", size, std=0.1, mean=1.0)
        if bias:
            self.normal(f"{name}.bias", size, std=0.1)


def _draw_tower(draw: _Draw, g: Geometry) -> None:
    root, d = "vision_tower.vision_model", g.tower_hidden
    draw.normal(f"{root}.embeddings.class_embedding", d, std=0.5)
    patch = (d, 3, g.patch_size, g.patch_size)
    draw.normal(f"{root}.embeddings.patch_embedding.weight", *patch, std=(3 * g.patch_size**2) ** -0.5)
    draw.normal(f"{root}.embeddings.position_embedding.weight", g.grid**2 + 1, d, std=0.3)
    draw.norm(f"{root}.pre_layrnorm", d, bias=True)
    draw.norm(f"{root}.post_layernorm", d, bias=True)
    for i in range(g.tower_layers):
        layer = f"{root}.encoder.layers.{i}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            draw.linear(f"{layer}.self_attn.{name}", d, d, bias=True)
        draw.linear(f"{layer}.mlp.fc1", g.tower_mlp, d, bias=True)
        draw.linear(f"{layer}.mlp.fc2", d, g.tower_mlp, bias=True)
        draw.norm(f"{layer}.layer_norm1", d, bias=True)
        draw.norm(f"{layer}.layer_norm2", d, bias=True)


def _draw_text(draw: _Draw, g: Geometry, vocab: int, *, qkv_bias: bool) -> None:
    root, d = "language_model.model", g.text_hidden
    draw.normal(f"{root}.embed_tokens.weight", vocab, d, std=1.5)
    for i in range(g.text_layers):
        layer, kv = f"{root}.layers.{i}", d // g.text_heads * g.text_kv_heads
        # Sharp attention: otherwise visual tokens average out, and all videos get similar answers. Much
        # sharper, and rounding errors show in the log-probabilities.
        draw.linear(f"{layer}.self_attn.q_proj", d, d, gain=2.5, bias=qkv_bias)
        draw.linear(f"{layer}.self_attn.k_proj", kv, d, gain=2.5, bias=qkv_bias)
        draw.linear(f"{layer}.self_attn.v_proj", kv, d, gain=2.0, bias=qkv_bias)
        draw.linear(f"{layer}.self_attn.o_proj", d, d, gain=2.0, bias=False)
        draw.linear(f"{layer}.mlp.gate_proj", g.text_mlp, d, bias=False)
        draw.linear(f"{layer}.mlp.up_proj", g.text_mlp, d, bias=False)
        draw.linear(f"{layer}.mlp.down_proj", d, g.text_mlp, bias=False)
        draw.norm(f"{layer}.input_layernorm", d, bias=False)
        draw.norm(f"{layer}.post_attention_layernorm", d, bias=False)
    draw.norm(f"{root}.norm", d, bias=False)
    draw.linear("language_model.lm_head", vocab, d, gain=3.0, bias=False)


def _weights(g: Geometry, family: str, ids: Ids, vocab: int, seed: int) -> Weights:
    """Draw all weights, under their published names, with `vocab` embedding rows."""
    draw = _Draw(seed)
    _draw_tower(draw, g)
    draw.linear("multi_modal_projector.linear_1", g.text_hidden, g.tower_hidden, bias=True)
    draw.linear("multi_modal_projector.linear_2", g.text_hidden, g.text_hidden, bias=True)
    draw.normal("image_newline", g.text_hidden, std=1.0)
    _draw_text(draw, g, ids.pieces, qkv_bias=family == "qwen")
    # Rows beyond the real pieces never win: their logit is 0, the best is above 8.
    for name in ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight"):
        rows = draw.weights[name]
        draw.weights[name] = torch.cat([rows, rows.new_zeros(vocab - len(rows), rows.shape[1])])
    return draw.weights


def _in_shards(weights: Weights, count: int) -> list[Weights]:
    names = sorted(weights)
    size = -(-len(names) // count)
    return [{n: weights[n] for n in names[i : i + size]} for i in range(0, len(names), size)]


def _write_weights(folder: Path, weights: Weights, shards: int) -> None:
    parts = _in_shards(weights, shards)
    if len(parts) == 1:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return
    where = {}
    for i, part in enumerate(parts, 1):
        file = f"model-{i:05d}-of-{len(parts):05d}.safetensors"
        save_file(part, folder / file, metadata={"format": "pt"})
        where |= dict.fromkeys(part, file)
    size = sum(w.numel() * w.element_size() for w in weights.values())
    index = {"metadata": {"total_size": size}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def _renamed(weights: Weights, rules: list[tuple[str, str]]) -> Weights:
    for pattern, replacement in rules:
        weights = {re.sub(pattern, replacement, name): w for name, w in weights.items()}
    return weights


def write_checkpoint(
    folder: str | Path,
    *,
    layout: str = "hf",
    family: str = "vicuna",
    geometry: Geometry = REAL_GRID,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    names: str = "published",
    shards: int = 1,
) -> Path:
    """Write a whole repository to `folder`, created if missing, and return it.

    Args:
        names: naming of the weights in layout "hf", one of `NAMES`.
        shards: number of weight files.

    Raises:
        ValueError: an unknown layout, family or naming, or a vocabulary smaller than the tokenizer.
    """
    for value, known in ((layout, LAYOUTS), (family, FAMILIES), (names, NAMES)):
        if value not in known:
            raise ValueError(f"{value!r} is not one of {', '.join(known)}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in _OWN_FILES:  # of an earlier checkpoint here, perhaps in another layout
        for file in folder.glob(pattern):
            file.unlink()
    ids = write_tokenizer(folder, family, layout=layout)
    needed = ids.padded if layout == "hf" else ids.pieces
    vocab = geometry.vocab_size or needed
    if vocab < needed:
        raise ValueError(f"vocab_size {vocab} is below the tokenizer's {needed}")
    kind = names if layout == "hf" else layout
    weights = _renamed(_weights(geometry, family, ids, vocab, seed), _RENAMES[kind])
    _write_weights(folder, {n: w.to(dtype).contiguous() for n, w in weights.items()}, shards)
    write_configs(folder, geometry, family, ids, vocab=vocab, kind=kind, dtype=dtype)
    return folder


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="write a LLaVA-NeXT checkpoint of random weights")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layout", choices=LAYOUTS, default="hf")
    parser.add_argument("--family", choices=list(FAMILIES), default="vicuna")
    parser.add_argument("--geometry", choices=list(GEOMETRIES), default="real-grid")
    parser.add_argument("--names", choices=NAMES, default="published", help="layout hf only")
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], default="float32")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = vars(parser.parse_args(arguments))
    options["geometry"] = GEOMETRIES[options["geometry"]]
    options["dtype"] = getattr(torch, options["dtype"])
    print(write_checkpoint(options.pop("folder"), **options))


if __name__ == "__main__":
    main()
