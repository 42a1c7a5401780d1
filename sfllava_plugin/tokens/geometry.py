"""What a model directory's config.json says about frames and pathways, read once for processor and model."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sfllava_plugin import registry
from sfllava_plugin.tokens import notation
from sfllava_plugin.tokens.notation import Pathways

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@dataclass(frozen=True)
class VideoSettings:
    """The geometry of one model: ``grid`` x ``grid`` patches of frames of ``image_size`` x ``image_size`` pixels."""

    frames: int
    pathways: Pathways
    image_size: int
    grid: int
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]

    @classmethod
    def read(cls, config: "PretrainedConfig") -> "VideoSettings":
        """Read the settings; ``--hf-overrides`` may have changed frames and pathways.

        Raises:
            ValueError: frames outside 1 to the limit, or pathways that do not exist or do not fit the grid.
        """
        tower = config.vision_config
        settings = cls(
            frames=config.slowfast_frames,
            pathways=notation.parse(config.slowfast_pathways),
            image_size=tower.image_size,
            grid=tower.image_size // tower.patch_size,
            image_mean=tuple(config.slowfast_image_mean),
            image_std=tuple(config.slowfast_image_std),
        )
        most = registry.load().limits.frames
        if not isinstance(settings.frames, int) or not 1 <= settings.frames <= most:
            raise ValueError(f"slowfast_frames must be 1 to {most}, not {settings.frames!r}")
        notation.check(settings.pathways, settings.grid)
        return settings

    def video_tokens(self, num_frames: int) -> int:
        """Tokens of a video of ``num_frames`` frames: its placeholders and its embeddings alike."""
        return notation.token_count(num_frames, self.pathways, self.grid)

    @property
    def image_tokens(self) -> int:
        """Tokens of an image: every patch of it."""
        return self.grid * self.grid
