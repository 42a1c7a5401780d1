"""PLLaVA with its CLIP tower and adapters in its language model (arXiv 2404.16994)."""

from pathlib import Path
from typing import Any

from transformers import LlavaConfig, LlavaNextConfig, PreTrainedTokenizerBase

from sfllava_plugin.checkpoints.families.family import Family
from sfllava_plugin.checkpoints.families.towers import CLIP
from sfllava_plugin.checkpoints.formats import Format, architecture
from sfllava_plugin.checkpoints.prepared import CheckpointError
from sfllava_plugin.checkpoints.settings import Native
from sfllava_plugin.checkpoints.video_config import Pictures

#: The 7B's config.json has it misspelt.
_MISSPELT = "PlavaForConditionalGeneration"
#: Either makes it PLLaVA, whatever the architecture: without pooling and adapters it would run as a LLaVA-1.5.
_FIELDS = ("pooling_shape", "frame_shape")


class Pllava(Family):
    """PLLaVA, in the one format that it is released in.

    Its program averages the projected patches to 16 x 12 x 12 cells: the same as ``spatial_temporal_pool``, because
    averages commute with the projector's second layer.

    Its sampling always gives 16 frames. Where a caller passes T < 16, each cell here averages the nearest frames, as in
    the program when it is set to T. Set to 16, the program would repeat each frame 16 // T + 1 times and cut the end
    off: of 8 frames it would lose the last two. One frame gives the same tokens either way.
    """

    name = "PLLaVA"
    example = "ermu2001/pllava-7b"
    # The adapters were trained with an alpha of 32; its authors evaluate with 4.
    native = Native(frames=16, pathways="spatial_temporal_pool", sampling="segments", fit="shrink_crop", lora_alpha=4.0)
    hf = ("PllavaForConditionalGeneration", LlavaConfig)
    tower = CLIP
    hf_fields = {"pooling_method": "avg", "pooling_shape": [16, 12, 12], "use_pooling": True}

    @property
    def architectures(self) -> tuple[str, ...]:
        return (*super().architectures, _MISSPELT)

    def format_of(self, config: dict[str, Any]) -> Format | None:
        found = architecture(config)
        told = found == "LlavaForConditionalGeneration" and any(config.get(key) is not None for key in _FIELDS)
        return "hf" if told or found in self.architectures else None

    def pictures(self, found: Format, config: LlavaNextConfig) -> Pictures:
        """Make each picture one square: PLLaVA has no tiles."""
        return Pictures()

    def prompts(self, config: LlavaNextConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        return "pllava_chatml" if "<|im_start|>" in tokenizer.get_vocab() else "pllava"

    def _check(
        self, folder: Path, raw: dict[str, Any], config: LlavaNextConfig, image_token_id: int, *, describes_tower: bool
    ) -> None:
        super()._check(folder, raw, config, image_token_id, describes_tower=describes_tower)
        image, patch = self._sides(folder, config)
        grid = [image // patch] * 2
        if (shape := raw.get("frame_shape", grid)) != grid:
            raise CheckpointError(f"{folder}: frame_shape is {shape!r}, the tower has {grid!r} patches")
