"""A family of checkpoints, from config.json to everything that a model directory says of it.

All families are a tower, two linears and a language model that vLLM has.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from transformers import AutoConfig, LlavaNextConfig, PreTrainedConfig, PreTrainedTokenizerBase

from sfllava_plugin.checkpoints.families.tower_shapes import vision_config
from sfllava_plugin.checkpoints.families.towers import Tower, stock_name
from sfllava_plugin.checkpoints.formats import Format, architecture, read_json
from sfllava_plugin.checkpoints.normalisation import read_statistics
from sfllava_plugin.checkpoints.prepared import CheckpointError
from sfllava_plugin.checkpoints.settings import Native
from sfllava_plugin.checkpoints.video_config import Pictures
from sfllava_plugin.checkpoints.weights import tensors
from sfllava_plugin.tokens.arrangement import FASTER_WEIGHT, NEWLINE_WEIGHT
from sfllava_plugin.tokens.geometry import Geometry

#: Regular expressions over the names of a checkpoint's weights, each with its replacement in vLLM's names, in order.
#: llava-hf's repositories, what transformers 5 saves, and the authors' repositories share them in all families.
WEIGHT_NAMES: Mapping[str, str | None] = {
    # PEFT's wrapper around a language model with adapters, which are merged by then.
    r"^language_model\.base_model\.model\.": "language_model.",
    r"^model\.(vision_tower\.vision_tower|vision_tower)\.": "vision_tower.",
    r"^vision_tower\.(?!vision_model\.)": "vision_tower.vision_model.",
    r"^model\.mm_projector\.0\.": "multi_modal_projector.linear_1.",
    r"^model\.mm_projector\.2\.": "multi_modal_projector.linear_2.",
    r"^model\.multi_modal_projector\.": "multi_modal_projector.",
    r"^model\.language_model\.": "language_model.model.",
    r"^model\.": "language_model.model.",
    r"^lm_head\.": "language_model.lm_head.",
}

#: Weights beside tower, projector and language model, which token layouts may need.
EXTRA_WEIGHTS = (NEWLINE_WEIGHT, FASTER_WEIGHT)

#: Architectures of the original format, and the language model inside each.
LANGUAGE_MODELS = {
    "LlavaLlamaForCausalLM": "llama",
    "LlavaMistralForCausalLM": "mistral",
    "LlavaQwenForCausalLM": "qwen2",
}

#: Fields of an original config.json about training, and those the weights answer as well.
_WITHOUT_EFFECT = {
    "mm_hidden_size",
    "mm_projector_lr",
    "mm_tunable_parts",
    "mm_use_im_patch_token",
    "mm_vision_tower",
    "mm_vision_tower_lr",
}
_NOT_OF_TEXT = ("mm_", "image_", "tune_", "use_mm", "unfreeze_", "freeze_")


class Family(ABC):
    """One row of the table of families: what its configurations must say, and how its videos are read.

    Attributes:
        name: as its authors write it.
        example: a checkpoint of it, for error messages.
        native: the settings its checkpoints were trained with, unless config.json says otherwise (`settings`).
        hf: the architecture of the llava-hf format, and its transformers class.
        originals: architectures of the original format.
        tower: the kind of tower.
        hf_fields: values that an hf config.json must have.
        original_fields: values that an original one must have.
        original_defaults: values that it may leave out.
        picture_limit, several_pictures: `Pictures.limit` and `Pictures.several`.
        telling: fields of either format that only this family has, so that they need no objection.
    """

    name: str
    example: str
    native: Native
    hf: tuple[str, type[PreTrainedConfig]] | None = None
    originals: tuple[str, ...] = ()
    tower: Tower
    hf_fields: Mapping[str, Any] = {}
    original_fields: Mapping[str, Any] = {}
    original_defaults: Mapping[str, Any] = {}
    picture_limit: int | None = None
    several_pictures: Literal["tiles", "square"] = "tiles"
    telling: tuple[str, ...] = ()

    @property
    def architectures(self) -> tuple[str, ...]:
        """The names that config.json may have, in either format."""
        return (*((self.hf[0],) if self.hf else ()), *self.originals)

    def format_of(self, config: dict[str, Any]) -> Format | None:
        """Tell the format of a config.json by its architecture and fields; None if it is another family's."""
        found = architecture(config)
        if self.hf and found == self.hf[0]:
            return "hf"
        return "original" if found in self.originals and self.is_own(config) else None

    def is_own(self, config: dict[str, Any]) -> bool:
        """Tell whether the fields of an original config.json are this family's."""
        return True

    def objection(self, config: dict[str, Any]) -> str | None:
        """Name the field that makes this a different method; None if there is none."""
        if self.format_of(config) == "hf":
            return None
        fields = {**self.original_defaults, **{key: value for key, value in config.items() if value is not None}}
        if stock_name(fields) != self.tower.stock:
            return f"mm_vision_tower is {fields.get('mm_vision_tower')!r}, {self.name} has {self.tower.stock}"
        expected = {**self.original_fields, **self.original_defaults}
        for key, value in expected.items():
            if (found := fields.get(key)) != value:
                return f"{key} is {found!r}, {self.name} has {value!r}"
        for key, value in fields.items():
            known = key in expected or key in self.telling or key in _WITHOUT_EFFECT
            if key.startswith("mm_") and value and not known:
                return f"{key} is {value!r}, {self.name} has no such field"
        return None

    def read_config(self, folder: Path, found: Format, image_token_id: int) -> LlavaNextConfig:
        """Read the checkpoint's configuration, in the form vLLM's parts take.

        Args:
            image_token_id: the id of ``<image>`` in the checkpoint's tokenizer.

        Raises:
            CheckpointError: a value the method is not defined for, named with what was expected.
        """
        raw = read_json(folder / "config.json")
        try:
            config = self._from_hf(raw) if found == "hf" else self._from_original(folder, raw, image_token_id)
            text = config.get_text_config()
        except CheckpointError:
            raise
        except Exception as error:  # transformers raises whatever its validators raise
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise CheckpointError(
                f"{folder}: config.json describes no model that transformers supports ({reason})"
            ) from error
        describes_tower = found == "original" or "vision_config" in raw
        self._check(folder, raw if found == "hf" else {}, config, image_token_id, describes_tower=describes_tower)
        _drop_dynamic_rope(text)
        if not any(name.endswith("lm_head.weight") for name, _ in tensors(folder)):
            # The files hold no head of its own: it is the embedding.
            text.tie_word_embeddings = config.tie_word_embeddings = True
        return config

    def stretch(self, text: PreTrainedConfig, found: Format) -> None:  # noqa: B027 - most families read their files' own
        """Extend the positions to those the family's program reads."""

    def geometry(self, folder: Path, found: Format, config: LlavaNextConfig) -> Geometry:
        """Read the geometry of the checkpoint's tower.

        Raises:
            CheckpointError: its statistics are missing or contradictory.
        """
        image, patch = self._sides(folder, config)
        grid = image // patch
        mean, std = read_statistics(folder, self.tower.statistics if found == "original" else None)
        return Geometry(
            tower=self.tower.kind,
            rows=grid,
            columns=grid,
            image_size=image,
            mean=mean,
            std=std,
            feature_layer=self._feature_layer(found, config),
            class_token=self.tower.class_token,
        )

    def pictures(self, found: Format, config: LlavaNextConfig) -> Pictures:
        """Say how pictures become tokens.

        The released programs read the canvases of config.json as (width, height), transformers as (height, width).
        """
        pinpoints = config.image_grid_pinpoints or ()
        if found == "original":
            pinpoints = [(height, width) for width, height in pinpoints]
        return Pictures(
            canvases=tuple((height, width) for height, width in pinpoints),
            limit=self.picture_limit,
            rounding="transformers" if found == "hf" else "program",
            several=self.several_pictures,
        )

    def settings(self, config: dict[str, Any]) -> Native:
        """Return the settings a checkpoint was trained with, by its config.json."""
        return self.native

    @abstractmethod
    def prompts(self, config: LlavaNextConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        """Choose the prompts (a key of `prompts.FAMILIES`) of an entry that names none."""

    def _feature_layer(self, found: Format, config: LlavaNextConfig) -> int:
        """The program takes the stock SigLIP's last layer off, also where the files hold it; transformers does not."""
        layers = getattr(config.vision_config, "num_hidden_layers", None)
        whole = found == "original" and self.tower.kind == "siglip" and layers == self.tower.layers
        return -2 if whole else self.tower.feature_layer

    def _from_hf(self, raw: dict[str, Any]) -> LlavaNextConfig:
        """Read the family's transformers configuration, and carry its parts over into one that all families share."""
        assert self.hf is not None  # format_of found it
        _, kind = self.hf
        own = kind(**raw)
        if isinstance(own, LlavaNextConfig):
            return own
        return LlavaNextConfig(
            text_config=own.text_config,
            vision_config=own.vision_config,
            image_token_index=own.image_token_index,
            # Without any, LlavaNextConfig would take LLaVA-NeXT's.
            image_grid_pinpoints=getattr(own, "image_grid_pinpoints", []),
            projector_hidden_act=own.projector_hidden_act,
            vision_feature_layer=own.vision_feature_layer,
            vision_feature_select_strategy=own.vision_feature_select_strategy,
            multimodal_projector_bias=own.multimodal_projector_bias,
            tie_word_embeddings=own.tie_word_embeddings,
            dtype=own.dtype,
        )

    def _from_original(self, folder: Path, raw: dict[str, Any], image_token_id: int) -> LlavaNextConfig:
        text = {
            key: value
            for key, value in raw.items()
            if not key.startswith(_NOT_OF_TEXT) and key not in ("architectures", "model_type")
        }
        return LlavaNextConfig(
            text_config=AutoConfig.for_model(LANGUAGE_MODELS[architecture(raw)], **text),
            vision_config=vision_config(folder, self.tower),
            image_token_index=image_token_id,
            image_grid_pinpoints=raw.get("image_grid_pinpoints"),
            projector_hidden_act="gelu",
            vision_feature_layer=self.tower.feature_layer,
            vision_feature_select_strategy=self.tower.strategy,
            tie_word_embeddings=raw.get("tie_word_embeddings", False),
            dtype=raw.get("dtype", raw.get("torch_dtype")),
        )

    def _check(
        self, folder: Path, raw: dict[str, Any], config: LlavaNextConfig, image_token_id: int, *, describes_tower: bool
    ) -> None:
        """Refuse values that the family is not defined for."""
        expected = {
            "vision_feature_layer": self.tower.feature_layer,
            "vision_feature_select_strategy": self.tower.strategy,
            "projector_hidden_act": "gelu",
            "image_token_index": image_token_id,
        }
        for key, value in expected.items():
            if (found := getattr(config, key)) != value:
                raise CheckpointError(f"{folder}: {key} is {found!r}, {self.name} needs {value!r}")
        for key, value in self.hf_fields.items():
            if raw and (found := raw.get(key, value)) != value:
                raise CheckpointError(f"{folder}: {key} is {found!r}, {self.name} needs {value!r}")
        if not describes_tower:
            raise CheckpointError(f"{folder}: config.json describes no tower: it has no vision_config")
        self._sides(folder, config)

    def _sides(self, folder: Path, config: LlavaNextConfig) -> tuple[int, int]:
        """Read the sides of an image and of a patch, in pixels; refuse a tower of another kind."""
        tower = config.vision_config
        if not isinstance(tower, self.tower.config):
            kind, needed = getattr(tower, "model_type", None), self.tower.config.model_type
            raise CheckpointError(f"{folder}: the tower is {kind}, {self.name} needs {needed}")
        image, patch = tower.image_size, tower.patch_size
        if not isinstance(image, int) or not isinstance(patch, int) or image <= 0 or patch <= 0:
            raise CheckpointError(f"{folder}: config.json describes no tower (image and patch size {(image, patch)})")
        return image, patch


def _drop_dynamic_rope(text_config: PreTrainedConfig) -> None:
    """Drop dynamic NTK scaling: the identity within the trained length, where vLLM's table of it ends."""
    rope = getattr(text_config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "dynamic":
        text_config.rope_parameters = {"rope_type": "default", "rope_theta": rope["rope_theta"]}
