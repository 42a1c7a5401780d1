"""Let ``--hf-overrides '{"sfllava": {"rope": ...}}'`` reach the language model.

vLLM reads the scaling of positions from the language model's part of the configuration, and computes the longest
context from it, before the hook of our architecture runs (config_hook.py).
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sfllava_plugin.checkpoints.formats import read_json
from sfllava_plugin.checkpoints.video_config import KEY
from sfllava_plugin.registry import checked_rope

if TYPE_CHECKING:
    from vllm.engine.arg_utils import EngineArgs


def apply(arguments: "EngineArgs") -> None:
    """Replace the key ``rope`` in the overrides of a model directory by the fields of vLLM's own.

    Raises:
        ValueError: no such scaling, or the checkpoint scales its positions in another way.
    """
    overrides = arguments.hf_overrides
    if not isinstance(overrides, dict):
        return
    own = overrides.get(KEY)
    if not isinstance(own, dict) or "rope" not in own:
        return
    # Imported late: most processes have no such override.
    from sfllava_plugin.checkpoints.rope import scaled

    text = read_json(Path(arguments.model) / "config.json")["text_config"]
    rest = {name: value for name, value in own.items() if name != "rope"}
    changed = {"rope_parameters": scaled(text["rope_parameters"], checked_rope(own["rope"]))}
    arguments.hf_overrides = overrides | {KEY: rest, "text_config": changed | overrides.get("text_config", {})}
