"""The positions a language model reads, and scaling them as an entry asks."""

from transformers import PreTrainedConfig

from sfllava_plugin.checkpoints.prepared import CheckpointError
from sfllava_plugin.registry import rope_factor


def scale(text_config: PreTrainedConfig, rope: str) -> None:
    """Scale the positions linearly, if ``rope`` is ``linear-FACTOR``.

    Raises:
        CheckpointError: the checkpoint scales them in another way already.
    """
    if (factor := rope_factor(rope)) is None:
        return
    own = text_config.rope_parameters
    if (kind := own.get("rope_type", "default")) not in ("default", "linear"):
        raise CheckpointError(f"rope {rope!r} cannot replace the checkpoint's {kind!r} scaling: use rope checkpoint")
    text_config.rope_parameters = {**own, "rope_type": "linear", "factor": factor}


def positions(text_config: PreTrainedConfig) -> int:
    """Count the positions, as vLLM does (config/model.py, `_get_and_verify_max_len`)."""
    own = text_config.rope_parameters or {}
    factor = own["factor"] if own.get("rope_type") == "linear" else 1
    return int(text_config.max_position_embeddings * factor)
