"""Start an engine in each of lmms-eval's processes."""

import json
import os
from datetime import datetime
from typing import TYPE_CHECKING, Any

import torch

from sfllava_plugin.engine.offline import devices_of
from sfllava_plugin.registry import NATIVE
from sfllava_plugin.tokens.layout import parse

if TYPE_CHECKING:
    from sfllava_plugin.engine.offline import Runner


def engine_arguments(given: dict[str, Any], frames: int | None, settings: dict[str, Any]) -> dict[str, Any]:
    """Merge ``frames`` and a model's other settings into vLLM's engine arguments.

    Args:
        settings: keys of an entry in registry.yaml; None leaves one out.

    Raises:
        ValueError: a value that is not JSON, or an unknown notation.
    """
    if prepared := sorted({"lora_alpha", "prompts"} & given.keys()):
        raise ValueError(f"{prepared[0]}: preparing the model needs it: set it in an entry of the registry")
    arguments = {name: _value(value) for name, value in given.items()}
    if frames is not None:
        media = arguments.get("media_io_kwargs", {})
        arguments["media_io_kwargs"] = media | {"video": media.get("video", {}) | {"num_frames": frames}}
    chosen = {name: value for name, value in settings.items() if value is not None}
    if chosen.get("pathways", NATIVE) != NATIVE:
        chosen["pathways"] = str(parse(chosen["pathways"]))
    if chosen:
        overrides = arguments.get("hf_overrides", {})
        arguments["hf_overrides"] = overrides | {"sfllava": overrides.get("sfllava", {}) | chosen}
    return arguments


def start(pretrained: str, arguments: dict[str, Any], processes: int) -> "Runner":
    """Start this process's engine; of several processes, each gets its own devices."""
    if processes > 1:
        # This process has lmms-eval's process group, so the engine's must be in another.
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "1"
        _choose_devices(int(os.environ.get("LOCAL_RANK", 0)), devices_of(arguments))
    from sfllava_plugin.engine.offline import Runner

    return Runner(pretrained, arguments)


def _choose_devices(local_rank: int, count: int) -> None:
    """Restrict this process's engine to its own accelerators.

    Raises:
        ValueError: there are too few accelerators for that many processes.
    """
    if not torch.cuda.is_available():
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(str(i) for i in range(torch.cuda.device_count()))
    own = visible.split(",")[local_rank * count : (local_rank + 1) * count]
    if len(own) < count:
        raise ValueError(f"process {local_rank} needs {count} accelerators of {visible}: start fewer processes")
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(own)


def agreed_time() -> datetime:
    """Return the first process's time, so that all processes write to one folder."""
    begun = [datetime.now()]
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.broadcast_object_list(begun)
    return begun[0]


def _value(value: Any) -> Any:
    """Parse an engine argument as JSON if it looks like it."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        return json.loads(value)
    return value
