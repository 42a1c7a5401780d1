"""The families of checkpoints, and how config.json tells them apart.

Families share architectures, model types and weight names, and differ in what they do with the patches of a video.
A checkpoint read as the wrong family would load, and answer wrongly: anything not known exactly is refused by name.
"""

import re
from pathlib import Path
from typing import Any

from sfllava_plugin.checkpoints.families.family import EXTRA_WEIGHTS, WEIGHT_NAMES, Family
from sfllava_plugin.checkpoints.families.llava_15 import Llava15
from sfllava_plugin.checkpoints.families.llava_next import LlavaNext
from sfllava_plugin.checkpoints.families.llava_video import LlavaVideo
from sfllava_plugin.checkpoints.families.next_video import NextVideo
from sfllava_plugin.checkpoints.families.onevision import OneVision
from sfllava_plugin.checkpoints.families.pllava import Pllava
from sfllava_plugin.checkpoints.families.relatives import RELATIVES, Relative
from sfllava_plugin.checkpoints.formats import Format, architecture, read_json
from sfllava_plugin.checkpoints.prepared import CheckpointError
from sfllava_plugin.checkpoints.weights import tensors

__all__ = ["EXTRA_WEIGHTS", "FAMILIES", "WEIGHT_NAMES", "extra_weights", "find", "refusal"]

#: Every supported family, in the order in which config.json is tried: those told by fields come first.
FAMILIES: tuple[Family, ...] = (LlavaVideo(), OneVision(), NextVideo(), Pllava(), Llava15(), LlavaNext())


def find(folder: Path, asked: Format | None = None) -> tuple[Family, Format]:
    """Find the family and the format of a checkpoint from its config.json.

    Args:
        folder: the checkpoint.
        asked: the format that the registry names, if any.

    Raises:
        CheckpointError: it belongs to no supported family, or has another format.
    """
    config = read_json(folder / "config.json")
    if reason := refusal(config):
        raise CheckpointError(f"{folder}: {reason}")
    family, found = next((family, found) for family in FAMILIES if (found := family.format_of(config)))
    if asked and asked != found:
        raise CheckpointError(f"{folder}: format {asked} was requested, but config.json is in format {found}")
    return family, found


def extra_weights(folder: Path) -> tuple[str, ...]:
    """List the weights a checkpoint holds beside tower, projector and language model."""
    names = {name.rpartition(".")[2] for name, _ in tensors(folder)}
    return tuple(name for name in EXTRA_WEIGHTS if name in names)


def refusal(config: dict[str, Any]) -> str | None:
    """Say why no family takes this config.json, and what to use instead; None if one does."""
    found = architecture(config)
    for relative in RELATIVES:
        if re.fullmatch(relative.architecture, found):
            return _is_relative(relative, found)
    family = next((family for family in FAMILIES if family.format_of(config)), None)
    if family is None:
        known = ", ".join(f"{family.name} ({family.example})" for family in FAMILIES)
        return (
            f"not a checkpoint of the LLaVA family: config.json says {found} "
            f"(model_type {config.get('model_type')!r}); use one of {known}"
        )
    for relative in RELATIVES:
        for key, pattern in relative.fields.items():
            value = config.get(key)
            if value is not None and re.fullmatch(pattern, str(value), re.DOTALL):
                return _is_relative(relative, f"{key} {value!r}")
    objection = family.objection(config)
    return f"{objection}; use a checkpoint such as {family.example}" if objection else None


def _is_relative(relative: Relative, evidence: str) -> str:
    return f"this is {relative.name} (config.json says {evidence}): {relative.why}; {relative.instead}"
