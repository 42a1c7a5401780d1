"""Write a trained model as a float16 checkpoint in llava-hf's format."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlavaNextConfig

from training import tokenizer
from training.model import IMAGE_SIZE, MEAN, STD, TOWER_LAYERS, Language, Tower, text_config, tower_config

_MARKER_ID = 4


def write(tower: Tower, language: Language, folder: Path) -> Path:
    """Write weights, configuration, tokenizer and image processor; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = _tower_weights(tower) | _language_weights(language)
    weights = {name: weight.to(torch.float16).contiguous().clone() for name, weight in weights.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.write(folder)
    config = LlavaNextConfig(
        vision_config=tower_config(TOWER_LAYERS + 1),
        text_config=text_config(language.decoder.config.vocab_size),
        image_token_index=_MARKER_ID,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        image_grid_pinpoints=[[IMAGE_SIZE, IMAGE_SIZE * 2], [IMAGE_SIZE * 2, IMAGE_SIZE]],
        tie_word_embeddings=False,
        dtype="float16",
        architectures=["LlavaNextForConditionalGeneration"],
    )
    config.save_pretrained(folder)
    _dump(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "LlavaNextImageProcessor",
            "image_mean": MEAN,
            "image_std": STD,
            "size": {"shortest_edge": IMAGE_SIZE},
            "crop_size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        },
    )
    _dump(folder / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3})
    return folder


def _tower_weights(tower: Tower) -> dict[str, torch.Tensor]:
    """Weights of the tower, with an unused last layer of zeros."""
    root = "vision_tower.vision_model."
    weights = {root + name.removeprefix("vision_model."): weight for name, weight in tower.clip.state_dict().items()}
    last = f"{root}encoder.layers.{TOWER_LAYERS - 1}."
    unread = f"{root}encoder.layers.{TOWER_LAYERS}."
    copies = {
        unread + name.removeprefix(last): torch.zeros_like(w) for name, w in weights.items() if name.startswith(last)
    }
    return {name: weight for name, weight in (weights | copies).items() if not name.endswith("position_ids")}


def _language_weights(language: Language) -> dict[str, torch.Tensor]:
    weights = {f"language_model.{name}": weight for name, weight in language.decoder.state_dict().items()}
    for part in ("linear_1", "linear_2"):
        for name, weight in getattr(language, part).state_dict().items():
            weights[f"multi_modal_projector.{part}.{name}"] = weight
    return weights | {"image_newline": torch.zeros(language.decoder.config.hidden_size)}


def _dump(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
