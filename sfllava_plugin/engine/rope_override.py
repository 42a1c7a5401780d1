"""Let ``--hf-overrides '{"sfllava": {"rope": ...}}'`` reach the language model.

vLLM reads the scaling of positions from the language model's part of the configuration, and computes the longest
context from it, before the hook of our architecture runs (config_hook.py).
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

from sfllava_plugin.checkpoints.prepared import POSITIONS, manifest
from sfllava_plugin.checkpoints.video_config import KEY
from sfllava_plugin.registry import checked_rope

if TYPE_CHECKING:
    from vllm.engine.arg_utils import EngineArgs


def apply(arguments: "EngineArgs", set_by_user: Collection[str]) -> None:
    """Replace the key ``rope`` in the overrides by vLLM's own fields.

    The context follows the positions, as in an entry of the registry, unless it is among the arguments ``set_by_user``.

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
    from sfllava_plugin.checkpoints import rope

    described = manifest(arguments.model)
    known = described[POSITIONS]
    positions = rope.chosen(checked_rope(own["rope"]), known["checkpoint"], known["files"])
    rest = {name: value for name, value in own.items() if name != "rope"}
    arguments.hf_overrides = overrides | {KEY: rest, "text_config": positions | overrides.get("text_config", {})}
    if "max_model_len" not in set_by_user and arguments.max_model_len == described["engine"]["max_model_len"]:
        arguments.max_model_len = rope.context(known["asked"], positions)
