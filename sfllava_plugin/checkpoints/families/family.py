"""The interface of a family of checkpoints."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sfllava_plugin.checkpoints.formats import Format
from sfllava_plugin.tokens.geometry import Geometry

if TYPE_CHECKING:
    from transformers import LlavaNextConfig, PreTrainedTokenizerBase


class Family(Protocol):
    """A family of checkpoints: reads config.json for everything a model directory needs.

    Attributes:
        name: as its authors write it.
        architectures: the names that config.json may have, in either format.
        weight_names: regular expressions over the checkpoint's weight names, each with its replacement in vLLM's names;
            None drops the weight. They are applied in order.
        native: the notation of its own token layout for videos; None for families trained on images alone.
    """

    name: str
    architectures: tuple[str, ...]
    weight_names: Mapping[str, str | None]
    native: str | None

    def format_of(self, config: dict[str, Any]) -> Format | None:
        """Tell the format of a config.json by its architecture; None if it is another family's."""

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
