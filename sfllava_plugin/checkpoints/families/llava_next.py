"""LLaVA-NeXT 1.6 with its CLIP tower: the checkpoints of the SlowFast-LLaVA paper."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig, CLIPVisionConfig, LlavaNextConfig, PreTrainedConfig, PreTrainedTokenizerBase

from sfllava_plugin.checkpoints.families.clip_shapes import clip_config
from sfllava_plugin.checkpoints.formats import Format, architecture, read_json
from sfllava_plugin.checkpoints.normalisation import Statistics, read_statistics
from sfllava_plugin.checkpoints.prepared import CheckpointError
from sfllava_plugin.tokens.geometry import Geometry

_HF = "LlavaNextForConditionalGeneration"
#: Architectures of the original format, and the language model inside each.
_LANGUAGE_MODELS = {
    "LlavaLlamaForCausalLM": "llama",
    "LlavaMistralForCausalLM": "mistral",
    "LlavaQwenForCausalLM": "qwen2",
}
#: Statistics of the towers that ``mm_vision_tower`` may name; original repositories have no file for them.
_TOWERS: dict[str, Statistics] = {
    "clip-vit-large-patch14-336": (
        (0.48145466, 0.4578275, 0.40821073),
        (0.26862954, 0.26130258, 0.27577711),
    )
}

#: Fields an original config.json must have.
_REQUIRED = {
    "mm_projector_type": "mlp2x_gelu",
    "mm_vision_select_layer": -2,
    "mm_patch_merge_type": "spatial_unpad",
    "image_aspect_ratio": "anyres",
}
#: Fields it may leave out.
_DEFAULTS = {"mm_resampler_type": None, "mm_use_im_start_end": False, "mm_vision_select_feature": "patch", "s2": False}
#: Fields about training, and those the weights answer as well.
_WITHOUT_EFFECT = {
    "mm_hidden_size",
    "mm_projector_lr",
    "mm_tunable_parts",
    "mm_use_im_patch_token",
    "mm_vision_tower",
    "mm_vision_tower_lr",
}


class LlavaNext:
    """The LLaVA-NeXT 1.6 family, in the llava-hf and the liuhaotian format."""

    name = "LLaVA-NeXT"
    architectures: tuple[str, ...] = (_HF, *_LANGUAGE_MODELS)
    #: Names in llava-hf repositories, in what transformers 5 saves, and in liuhaotian's repositories.
    weight_names: Mapping[str, str | None] = {
        r"^(model\.)?image_newline$": None,
        r"^model\.(vision_tower\.vision_tower|vision_tower)\.": "vision_tower.",
        r"^vision_tower\.(?!vision_model\.)": "vision_tower.vision_model.",
        r"^model\.mm_projector\.0\.": "multi_modal_projector.linear_1.",
        r"^model\.mm_projector\.2\.": "multi_modal_projector.linear_2.",
        r"^model\.multi_modal_projector\.": "multi_modal_projector.",
        r"^model\.language_model\.": "language_model.model.",
        r"^model\.": "language_model.model.",
        r"^lm_head\.": "language_model.lm_head.",
    }
    native: str | None = None

    def format_of(self, config: dict[str, Any]) -> Format | None:
        found = architecture(config)
        if found == _HF:
            return "hf"
        return "original" if found in _LANGUAGE_MODELS else None

    def objection(self, config: dict[str, Any]) -> str | None:
        if self.format_of(config) == "hf":
            return None
        fields = _DEFAULTS | {key: value for key, value in config.items() if value is not None}
        if _tower(fields) not in _TOWERS:
            named = fields.get("mm_vision_tower")
            return f"mm_vision_tower is {named!r}, SlowFast-LLaVA needs one of {', '.join(_TOWERS)}"
        expected = _REQUIRED | _DEFAULTS
        for key, value in expected.items():
            if (found := fields.get(key)) != value:
                return f"{key} is {found!r}, SlowFast-LLaVA needs {value!r}"
        for key, value in fields.items():
            if key.startswith("mm_") and value and key not in expected and key not in _WITHOUT_EFFECT:
                return f"{key} is {value!r}, LLaVA-NeXT 1.6 has no such field"
        return None

    def read_config(self, folder: Path, found: Format, image_token_id: int) -> LlavaNextConfig:
        raw = read_json(folder / "config.json")
        try:
            config = LlavaNextConfig(**raw) if found == "hf" else _from_original(folder, raw, image_token_id)
            _drop_dynamic_rope(config.get_text_config())
        except CheckpointError:
            raise
        except Exception as error:  # transformers raises whatever its validators raise
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise CheckpointError(
                f"{folder}: config.json describes no model that transformers supports ({reason})"
            ) from error
        _check(folder, config, image_token_id, describes_tower=found == "original" or "vision_config" in raw)
        return config

    def geometry(self, folder: Path, found: Format, config: LlavaNextConfig) -> Geometry:
        image, patch = _sides(folder, config)
        grid = image // patch
        mean, std = read_statistics(folder, _stock_statistics(folder) if found == "original" else None)
        return Geometry(
            tower="clip",
            rows=grid,
            columns=grid,
            image_size=image,
            mean=mean,
            std=std,
            feature_layer=config.vision_feature_layer,
            class_token=True,
        )

    def prompts(self, config: LlavaNextConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        vocabulary = tokenizer.get_vocab()
        text_model = config.get_text_config().model_type
        if text_model in ("mistral", "qwen2"):
            return {"mistral": "mistral", "qwen2": "qwen"}[text_model]
        if "<|start_header_id|>" in vocabulary:
            return "llama3"
        return "yi" if "<|im_start|>" in vocabulary else "vicuna"


def _tower(config: dict[str, Any]) -> str:
    """The last part of ``mm_vision_tower``, which may be a hub repository or somebody's folder."""
    return str(config.get("mm_vision_tower")).rstrip("/").rpartition("/")[2]


def _stock_statistics(folder: Path) -> Statistics:
    return _TOWERS[_tower(read_json(folder / "config.json"))]


def _check(folder: Path, config: LlavaNextConfig, image_token_id: int, *, describes_tower: bool) -> None:
    """Refuse values that SlowFast-LLaVA is not defined for."""
    expected = {
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        "projector_hidden_act": "gelu",
        "image_token_index": image_token_id,
    }
    for key, value in expected.items():
        if (found := getattr(config, key)) != value:
            raise CheckpointError(f"{folder}: {key} is {found!r}, SlowFast-LLaVA needs {value!r}")
    if not describes_tower:
        raise CheckpointError(f"{folder}: config.json describes no tower: it has no vision_config")
    _sides(folder, config)


def _sides(folder: Path, config: LlavaNextConfig) -> tuple[int, int]:
    """Read the sides of an image and of a patch, in pixels; refuse a tower of another kind."""
    tower = config.vision_config
    if not isinstance(tower, CLIPVisionConfig):
        kind = getattr(tower, "model_type", None)
        raise CheckpointError(f"{folder}: the tower is {kind}, SlowFast-LLaVA needs clip_vision_model")
    image, patch = tower.image_size, tower.patch_size
    if not isinstance(image, int) or not isinstance(patch, int) or image <= 0 or patch <= 0:
        raise CheckpointError(f"{folder}: config.json describes no tower (image and patch size {(image, patch)})")
    return image, patch


def _from_original(folder: Path, raw: dict[str, Any], image_token_id: int) -> LlavaNextConfig:
    text = {
        key: value
        for key, value in raw.items()
        if not key.startswith(("mm_", "image_", "tune_", "use_mm", "unfreeze_", "freeze_"))
        and key not in ("architectures", "model_type")
    }
    return LlavaNextConfig(
        text_config=AutoConfig.for_model(_LANGUAGE_MODELS[architecture(raw)], **text),
        vision_config=clip_config(folder),
        image_token_index=image_token_id,
        image_grid_pinpoints=raw.get("image_grid_pinpoints"),
        projector_hidden_act="gelu",
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=raw.get("tie_word_embeddings", False),
        dtype=raw.get("dtype", raw.get("torch_dtype")),
    )


def _drop_dynamic_rope(text_config: PreTrainedConfig) -> None:
    """Drop dynamic NTK scaling: the identity within the trained length, where vLLM's table of it ends."""
    rope = getattr(text_config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "dynamic":
        text_config.rope_parameters = {"rope_type": "default", "rope_theta": rope["rope_theta"]}
