"""The interface of a family of checkpoints."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sfllava_plugin.checkpoints.formats import Format
from sfllava_plugin.checkpoints.settings import Native
from sfllava_plugin.tokens.geometry import Geometry

if TYPE_CHECKING:
    from transformers import LlavaNextConfig, PreTrainedTokenizerBase


class Family(Protocol):
    """A family of checkpoints: reads config.json for everything a model directory needs.

    Attributes:
        name: as its authors write it.
        architectures: the names that config.json may have, in either format.
        example: a checkpoint of it, for error messages.
        native: the settings its checkpoints were trained with.
    """

    name: str
    architectures: tuple[str, ...]
    example: str
    native: Native

    def format_of(self, config: dict[str, Any]) -> Format | None:
        """Tell the format of a config.json by its architecture and fields; None if it is another family's."""

    def objection(self, config: dict[str, Any]) -> str | None:
        """Name the field that makes this a different method; None if there is none."""

    def read_config(self, folder: Path, found: Format, image_token_id: int) -> "LlavaNextConfig":
        """Read the checkpoint's configuration, in the form vLLM's parts take.

        Args:
            image_token_id: the id of ``<image>`` in the checkpoint's tokenizer.

        Raises:
            CheckpointError: a value the method is not defined for, named with what was expected.
        """

    def geometry(self, folder: Path, found: Format, config: "LlavaNextConfig") -> Geometry:
        """Read the geometry of the checkpoint's tower.

        Raises:
            CheckpointError: its statistics are missing or contradictory.
        """

    def prompts(self, config: "LlavaNextConfig", tokenizer: "PreTrainedTokenizerBase") -> str:
        """Choose the prompts (a key of `prompts.FAMILIES`) of an entry that names none."""


#: Regular expressions over the names of a checkpoint's weights, each with its replacement in vLLM's names, in order.
#: llava-hf's repositories, what transformers 5 saves, and the authors' repositories share them in all families.
WEIGHT_NAMES: Mapping[str, str | None] = {
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
EXTRA_WEIGHTS = ("image_newline", "faster_token")
