"""Scale the positions of a language model as an entry asks.

An entry's factor multiplies the positions of the files. LLaVA-NeXT-Video's reach further unscaled, because its program
reads past their end (families/next_video.py); a factor does not multiply these: linear-2 means 2 x 4096 there, too.
"""

from typing import Any

from transformers import PreTrainedConfig

from sfllava_plugin.checkpoints.prepared import CheckpointError
from sfllava_plugin.registry import rope_factor

#: Fields of a language model's configuration.
_FIELDS = ("rope_parameters", "max_position_embeddings")


def fields(text_config: PreTrainedConfig) -> dict[str, Any]:
    """Copy the fields about positions."""
    return {name: getattr(text_config, name) for name in _FIELDS}


def chosen(rope: str, checkpoint: dict[str, Any], files: dict[str, Any]) -> dict[str, Any]:
    """Choose the fields about positions for a value of the setting ``rope``.

    Args:
        checkpoint: those the family reads by itself.
        files: those in the checkpoint's files, which a factor scales.

    Raises:
        CheckpointError: the checkpoint scales its positions in another way already.
    """
    if rope_factor(rope) is None:
        return checkpoint
    return files | {"rope_parameters": scaled(files["rope_parameters"], rope)}


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


def positions(found: dict[str, Any]) -> int:
    """Count the positions of `fields`, as vLLM does (config/model.py, `_get_and_verify_max_len`)."""
    parameters = found["rope_parameters"] or {}
    factor = parameters["factor"] if parameters.get("rope_type") == "linear" else 1
    return int(found["max_position_embeddings"] * factor)


def context(asked: int | None, found: dict[str, Any]) -> int:
    """Return the context asked for, at most the positions of `fields`."""
    return min(asked or positions(found), positions(found))
