"""Write small checkpoints with random weights, in the formats of the family."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.reference_family import configs, sizes, tokenizers
from tests.reference_family.names import to_files
from tests.reference_family.random_weights import Draw, draw_all


def _merge(settings: dict, changes: dict) -> dict:
    """Change nested settings; None deletes one."""
    merged = dict(settings)
    for name, value in changes.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name, {}), value) if isinstance(value, dict) else value
    return merged


def write(
    folder: str | Path,
    kind: str,
    *,
    image_size: int | None = None,
    family: str | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    tied: bool = False,
    names: str = "published",
    faster_token: bool = False,
    changes: dict | None = None,
) -> Path:
    """Write a repository to `folder`, which is emptied first, and return it.

    Seed, sizes, family and `tied` alone decide the weights, so "onevision" and "onevision-original" hold the same.

    Args:
        kind: one of `sizes.KINDS`.
        image_size: pixels a side; without one 336 (CLIP) or 384 (SigLIP). The original format records none: readers
            take 384 for 27 x 27 positions, and otherwise 14 times the grid.
        family: vicuna, yi, mistral or qwen; by default the kind's own.
        tied: share the embedding with the head, which is then in no file.
        names: "published", or "module" as transformers 5 writes them; ignored by original formats.
        faster_token: add LLaVA-Video's `model.faster_token`.
        changes: nested settings for config.json; None deletes one.
    """
    folder = Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tower, text = sizes.tower(kind, image_size), sizes.Text()
    family = family or ("vicuna" if tower.kind == "clip" else "qwen")
    words = tokenizers.write(folder, kind, family)
    weights = draw_all(
        seed,
        tower,
        text,
        pieces=words.pieces,
        vocabulary=words.vocabulary,
        newline=kind != "llava-1.5",
        qkv_bias=family == "qwen",
        tied=tied,
    )
    if faster_token:
        draw = Draw(seed)
        draw.normal("model.faster_token", text.hidden, std=1.0)
        weights |= draw.weights
    in_files = "original" if kind in sizes.ORIGINAL else names
    stored = {to_files(in_files, name): weight.to(dtype).contiguous() for name, weight in weights.items()}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})

    precision = str(dtype).removeprefix("torch.")
    module = in_files == "module"
    files = configs.files(kind, family, tower, text, words, dtype=precision, tied=tied, module=module)
    files["config.json"] = _merge(files["config.json"], changes or {})
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return folder
