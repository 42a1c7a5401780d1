"""The configuration of a LLaVA-NeXT checkpoint, whichever of its two published layouts it has.

``hf``: the llava-hf repositories, with a tower's and a language model's configuration in config.json.
``original``: the liuhaotian repositories, whose config.json describes the language model alone; their tower is read off
the shapes of its weights.

This module reads files. It does not write any, and does not know tokenizers.
"""

import json
import re
from pathlib import Path

from safetensors import safe_open
from transformers import AutoConfig, CLIPVisionConfig, LlavaNextConfig

from sfllava_plugin.checkpoints import variants
from sfllava_plugin.checkpoints.prepared import CheckpointError

_TOWER = "model.vision_tower.vision_tower.vision_model."
#: CLIP's convention, the one number of a tower that no shape tells.
_HEAD_SIZE = 64


def find_layout(folder: Path, layout: str | None = None) -> str:
    """``hf`` or ``original``, from config.json.

    Raises:
        CheckpointError: it is no LLaVA-NeXT 1.6 with CLIP, or has not the layout that was asked for.
    """
    config = read_json(folder / "config.json")
    if reason := variants.refusal(config):
        raise CheckpointError(f"{folder}: {reason}")
    found = "hf" if variants.architecture(config) == variants.HF_ARCHITECTURE else "original"
    if layout and layout != found:
        raise CheckpointError(f"{folder}: layout {layout} was asked for, config.json is in layout {found}")
    return found


def read_config(folder: Path, layout: str, image_token_id: int) -> LlavaNextConfig:
    """The checkpoint's configuration in transformers' form.

    Args:
        image_token_id: what the checkpoint's tokenizer, with its image token, makes of ``<image>``.

    Raises:
        CheckpointError: something in it SlowFast-LLaVA is not defined for, named with what was expected.
    """
    raw = read_json(folder / "config.json")
    try:
        config = LlavaNextConfig(**raw) if layout == "hf" else _from_original(folder, raw, image_token_id)
    except CheckpointError:
        raise
    except Exception as error:  # transformers raises whatever its validators raise
        raise CheckpointError(
            f"{folder}: config.json describes no model that transformers knows ({type(error).__name__}: {error})"
        ) from error
    expected = {
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        "projector_hidden_act": "gelu",
        "image_token_index": image_token_id,
    }
    for key, value in expected.items():
        if (found := getattr(config, key)) != value:
            raise CheckpointError(f"{folder}: {key} is {found!r}, SlowFast-LLaVA needs {value!r}")
    if not isinstance(config.vision_config, CLIPVisionConfig):
        raise CheckpointError(
            f"{folder}: the tower is {config.vision_config.model_type}, SlowFast-LLaVA needs clip_vision_model"
        )
    tower = config.vision_config
    sizes = (tower.image_size, tower.patch_size)
    is_described = layout == "original" or "vision_config" in raw
    if not is_described or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise CheckpointError(f"{folder}: config.json describes no tower (image and patch size {sizes})")
    _drop_dynamic_rope(config.text_config)
    return config


def read_json(path: Path) -> dict:
    """A JSON object from a file.

    Raises:
        CheckpointError: no such file, or something else in it.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path.parent}: no readable {path.name}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not JSON") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: not a JSON object")
    return value


def weight_files(folder: Path) -> list[Path]:
    """The checkpoint's safetensors files and their index, sorted.

    Raises:
        CheckpointError: there are none; other formats can run code when they are read and are not opened.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"{folder}: no *.safetensors in it; convert the weights to safetensors first")
    return files + sorted(folder.glob("*.safetensors.index.json"))


def _from_original(folder: Path, raw: dict, image_token_id: int) -> LlavaNextConfig:
    language_model = variants.LANGUAGE_MODELS[variants.architecture(raw)]
    text = {
        key: value
        for key, value in raw.items()
        if not key.startswith(("mm_", "image_", "tune_", "use_mm", "unfreeze_", "freeze_"))
        and key not in ("architectures", "model_type")
    }
    return LlavaNextConfig(
        text_config=AutoConfig.for_model(language_model, **text),
        vision_config=_tower_config(folder),
        image_token_index=image_token_id,
        image_grid_pinpoints=raw.get("image_grid_pinpoints"),
        projector_hidden_act="gelu",
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=raw.get("tie_word_embeddings", False),
        dtype=raw.get("dtype", raw.get("torch_dtype")),
    )


def _tower_config(folder: Path) -> CLIPVisionConfig:
    shapes = _tower_shapes(folder)
    try:
        hidden, _, patch, _ = shapes["embeddings.patch_embedding.weight"]
        positions, _ = shapes["embeddings.position_embedding.weight"]
        mlp, _ = shapes["encoder.layers.0.mlp.fc1.weight"]
    except KeyError as error:
        raise CheckpointError(
            f"{folder}: its weights hold no tuned tower ({_TOWER}{error.args[0]}); the stock CLIP would not fit them"
        ) from error
    layers = {int(name.split(".")[2]) for name in shapes if re.match(r"encoder\.layers\.\d", name)}
    return CLIPVisionConfig(
        hidden_size=hidden,
        intermediate_size=mlp,
        num_hidden_layers=max(layers) + 1,
        num_attention_heads=hidden // _HEAD_SIZE,
        patch_size=patch,
        image_size=patch * round((positions - 1) ** 0.5),
        projection_dim=768,
    )


def _tower_shapes(folder: Path) -> dict[str, list[int]]:
    shapes = {}
    for path in weight_files(folder):
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as weights:
                for name in weights.keys():  # noqa: SIM118 - not a mapping
                    if name.startswith(_TOWER):
                        shapes[name.removeprefix(_TOWER)] = weights.get_slice(name).get_shape()
    return shapes


def _drop_dynamic_rope(text_config) -> None:
    """Dynamic NTK scaling is the identity within the trained length, and vLLM's table of it ends there."""
    rope = getattr(text_config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "dynamic":
        text_config.rope_parameters = {"rope_type": "default", "rope_theta": rope["rope_theta"]}
