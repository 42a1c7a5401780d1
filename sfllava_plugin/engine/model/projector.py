"""The projector, from the tower's features to the language model's embeddings."""

from typing import Any

import torch
from torch import nn
from transformers import LlavaNextConfig
from vllm.model_executor.layers.activation import get_act_fn
from vllm.model_executor.layers.linear import ColumnParallelLinear, RowParallelLinear
from vllm.model_executor.layers.quantization import QuantizationConfig


class Projector(nn.Module):
    """Linear, GELU, linear, in two halves: token layouts average patches between them.

    Args:
        tower_width: of the features.
        replicated: whether every device holds all of it, instead of a share.
    """

    def __init__(
        self,
        config: LlavaNextConfig,
        tower_width: int,
        quant_config: QuantizationConfig | None,
        replicated: bool,
        prefix: str,
    ) -> None:
        super().__init__()
        width = config.get_text_config().hidden_size
        shared: dict[str, Any] = {
            "bias": config.multimodal_projector_bias,
            "quant_config": quant_config,
            "disable_tp": replicated,
        }
        self.linear_1 = ColumnParallelLinear(tower_width, width, prefix=f"{prefix}.linear_1", **shared)
        self.act = get_act_fn(config.projector_hidden_act)
        self.linear_2 = RowParallelLinear(width, width, prefix=f"{prefix}.linear_2", **shared)

    def hidden(self, features: torch.Tensor) -> torch.Tensor:
        """Apply the first linear and GELU: [..., tower width] -> [..., hidden width]."""
        hidden: torch.Tensor = self.act(self.linear_1(features)[0])
        return hidden

    def output(self, hidden: torch.Tensor) -> torch.Tensor:
        """Apply the second linear, an affine map: [..., hidden width] -> [..., language model width]."""
        embeddings: torch.Tensor = self.linear_2(hidden)[0]
        return embeddings

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Apply both halves: [..., tower width] -> [..., language model width]."""
        return self.output(self.hidden(features))
