"""Vision towers: from frames to the features of every patch, in chunks of bounded size."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import nn
from transformers import SiglipVisionConfig
from vllm.model_executor.layers.quantization import QuantizationConfig
from vllm.model_executor.models.clip import CLIPVisionModel
from vllm.model_executor.models.siglip import SiglipVisionModel
from vllm.model_executor.models.vision import run_dp_sharded_vision_model
from vllm.platforms import current_platform

from sfllava_plugin.checkpoints.families.towers import VisionConfig
from sfllava_plugin.tokens.geometry import Geometry

#: Patches that go through the tower at once: it bounds the memory of the tower's activations. On a CPU they also stay
#: in the cores' caches, which is worth a fifth of the tower's time there.
PATCHES_AT_ONCE = 2 * 576 if current_platform.is_cpu() else 16 * 576
#: 1 / 255 as the reference rounds it.
_RESCALE = 0.00392156862745098


def build_tower(
    config: VisionConfig, geometry: Geometry, quant_config: QuantizationConfig | None, prefix: str
) -> CLIPVisionModel | SiglipVisionModel:
    """Build vLLM's tower, up to the layer whose hidden state is read.

    No layer is selected when it runs: vLLM counts negative layers from the end of the uncut tower.
    """
    settings: dict[str, Any] = {
        "quant_config": quant_config,
        "num_hidden_layers_override": config.num_hidden_layers + geometry.feature_layer + 1,
        "require_post_norm": False,
        "prefix": prefix,
    }
    if isinstance(config, SiglipVisionConfig):
        return SiglipVisionModel(config, **settings)
    return CLIPVisionModel(config, **settings)


class FrameEncoder(nn.Module):
    """Normalise frames and run the tower over them, chunk by chunk.

    Args:
        geometry: the tower's.
        sharded: whether each device encodes a share of the frames, instead of a share of every layer.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, geometry: Geometry, *, sharded: bool) -> None:
        super().__init__()
        self._at_once = max(1, PATCHES_AT_ONCE // geometry.patches)
        self._sharded = sharded
        self._strategy = "default" if geometry.class_token else "full"
        # Not weights: the tower's input statistics, in float32 whatever the model's dtype.
        for name, values in (("mean", geometry.mean), ("std", geometry.std)):
            statistic = torch.tensor(values, dtype=torch.float32).view(3, 1, 1)
            self.register_buffer(name, statistic, persistent=False)

    def features(self, tower: nn.Module, pictures: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Encode pictures in chunks: [C, patches, tower width] each, without the class token.

        Args:
            pictures: batches of [N, S, S, 3], uint8, or float32 from 0 to 255.
        """
        for chunk in chain.from_iterable(torch.split(batch, self._at_once) for batch in pictures):
            pixels = self._normalised(chunk)
            if self._sharded:
                run = partial(self._run, tower)
                yield run_dp_sharded_vision_model(pixels, run)  # type: ignore[arg-type]  # any callable will do
            else:
                yield self._run(tower, pixels)

    def _normalised(self, frames: torch.Tensor) -> torch.Tensor:
        pixels = frames.permute(0, 3, 1, 2).to(torch.float32) * _RESCALE
        return (pixels - self.mean) / self.std

    def _run(self, tower: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = tower(pixels, feature_select_strategy=self._strategy)
        return features
