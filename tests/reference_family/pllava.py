"""Small PLLaVA checkpoints, and the same models with merged weights as LLaVA-1.5 checkpoints."""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.reference_family import checkpoints, models, pools
from tests.reference_family.random_weights import Draw

RANK = 128
_PLAIN, _WRAPPED = "language_model.", "language_model.base_model.model."
_ADAPTED = (".self_attn.q_proj.weight", ".self_attn.v_proj.weight")


def _rewrite(folder: Path, name: str, change: dict) -> None:
    path = folder / name
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | change, indent=2) + "\n", encoding="utf-8")


def factors(name: str, weight: Tensor, rank: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draw A [r, in] and B [out, r] of one layer; at alpha 32 of rank 128 they rival the base."""
    draw = Draw(seed)
    draw.normal(f"{name}.A", rank, weight.shape[1], std=rank**-0.5)
    draw.normal(f"{name}.B", weight.shape[0], rank, std=1.0)
    return draw.weights[f"{name}.A"], draw.weights[f"{name}.B"]


def write(
    folder: str | Path,
    *,
    image_size: int | None = None,
    family: str = "vicuna",
    architecture: str = "PllavaForConditionalGeneration",
    rank: int = RANK,
    dtype: torch.dtype = torch.float32,
    changes: dict | None = None,
) -> Path:
    """Write a repository to `folder`, which is emptied first, and return it.

    Three shards: tower and projector alone; then the language model, some factors in another shard than their base.
    """
    folder = checkpoints.write(folder, "llava-1.5", image_size=image_size, family=family, dtype=dtype)
    config = models.read_json(folder, "config.json")
    grid = config["vision_config"]["image_size"] // config["vision_config"]["patch_size"]
    own = {
        "architectures": [architecture],
        "frame_shape": [grid, grid],
        "gradient_checkpointing": False,
        "num_frames": 16,
        "pad_token_id": 0,
        "pooling_method": "avg",
        "pooling_shape": [16, 12, 12],
        "use_pooling": True,
    }
    _rewrite(folder, "config.json", own | (changes or {}))

    plain = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    tower = {name: weight for name, weight in plain.items() if not name.startswith(_PLAIN)}
    text: dict[str, Tensor] = {}
    for name, weight in plain.items():
        wrapped = name.replace(_PLAIN, _WRAPPED, 1)
        if name.startswith(_PLAIN) and name.endswith(_ADAPTED):
            layer = wrapped.removesuffix(".weight")
            a, b = factors(name, weight.float(), rank)
            text[f"{layer}.base_layer.weight"] = weight
            text[f"{layer}.lora_A.default.weight"], text[f"{layer}.lora_B.default.weight"] = a.to(dtype), b.to(dtype)
        elif name.startswith(_PLAIN):
            text[wrapped] = weight
    save_shards(folder, [tower, *_halves(text)])
    return folder


def _halves(text: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Split so that the last layer's B is in the first half and its base in the second."""
    is_early = {name: "lora_B" in name or ".layers.0." in name for name in text}
    return [{name: weight for name, weight in text.items() if is_early[name] == early} for early in (True, False)]


def save_shards(folder: Path, shards: list[dict[str, Tensor]]) -> None:
    """Write safetensors files and their index."""
    names = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        save_file({key: weight.contiguous() for key, weight in shard.items()}, folder / name, metadata={"format": "pt"})
    index = {
        "metadata": {"total_size": sum(weight.nbytes for shard in shards for weight in shard.values())},
        "weight_map": {key: name for name, shard in zip(names, shards, strict=True) for key in shard},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def merged(folder: Path, alpha: float) -> dict[str, Tensor]:
    """Merge in float64: all weights under llava-hf's names, in float32."""
    weights = {name: weight.double() for name, weight in models.weights(folder).items()}
    plain = {}
    for name, weight in weights.items():
        if "lora_" in name:
            continue
        if ".base_layer." in name:
            layer = name.removesuffix(".base_layer.weight")
            a, b = (weights[f"{layer}.lora_{factor}.default.weight"] for factor in "AB")
            weight, name = weight + b @ a * alpha / a.shape[0], f"{layer}.weight"
        plain[name.replace(_WRAPPED, _PLAIN, 1)] = weight.float()
    return plain


def twin(folder: Path, out: Path, alpha: float) -> Path:
    """Write a LLaVA-1.5 checkpoint with the merged weights, for `models`."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for path in folder.iterdir():
        if path.suffix == ".json" and "index" not in path.name:
            shutil.copy(path, out)
    _rewrite(out, "config.json", {"architectures": ["LlavaForConditionalGeneration"]})
    save_file(merged(folder, alpha), out / "model.safetensors", metadata={"format": "pt"})
    return out


@torch.no_grad()
def video_features(twin_folder: Path, frames: np.ndarray) -> Tensor:
    """Encode frames in PLLaVA's layout, [16 * 12 * 12, D]: every patch is projected, then averaged."""
    maps = pools.as_maps(models.projected_maps(twin_folder, frames))
    return pools.average_lines(pools.adaptive(maps, 12, 12), 0, 16).flatten(0, 2)


def repeated(frames: np.ndarray, wanted: int = 16) -> np.ndarray:
    """Fill up a short video as the program would when it gets fewer frames than it is set to."""
    return np.repeat(frames, wanted // len(frames) + 1, axis=0)[:wanted] if len(frames) < wanted else frames
