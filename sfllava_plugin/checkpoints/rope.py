"""The positions a language model reads, and scaling them as an entry asks."""

from typing import Any

from transformers import PreTrainedConfig

from sfllava_plugin.checkpoints.prepared import CheckpointError
from sfllava_plugin.registry import rope_factor


def scaled(parameters: dict[str, Any], rope: str) -> dict[str, Any]:
    """Scale positions linearly, if ``rope`` is ``linear-FACTOR``.

    Args:
        parameters: ``rope_parameters`` of a language model's configuration.

    Raises:
        CheckpointError: the checkpoint scales them in another way already.
    """
    if (factor := rope_factor(rope)) is None:
        return parameters
    if (kind := parameters.get("rope_type", "default")) not in ("default", "linear"):
        raise CheckpointError(f"rope {rope!r} cannot replace the checkpoint's {kind!r} scaling: use rope checkpoint")
    return {**parameters, "rope_type": "linear", "factor": factor}


def positions(text_config: PreTrainedConfig) -> int:
    """Count the positions, as vLLM does (config/model.py, `_get_and_verify_max_len`)."""
    parameters = text_config.rope_parameters or {}
    factor = parameters["factor"] if parameters.get("rope_type") == "linear" else 1
    return int(text_config.max_position_embeddings * factor)
