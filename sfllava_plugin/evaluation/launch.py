"""Engines for lmms-eval: their arguments as its command gives them, and one for each of its processes.

It does not know requests.
"""

import json
import os
from datetime import datetime
from typing import Any

import torch

from sfllava_plugin.engine.offline.devices import devices_of
from sfllava_plugin.tokens.layout import parse


def engine_arguments(given: dict[str, Any], frames: int | None, pathways: str | None) -> dict[str, Any]:
    """vLLM's arguments, with ours where vLLM has them."""
    arguments = {name: _value(value) for name, value in given.items()}
    if frames is not None:
        media = arguments.get("media_io_kwargs", {})
        arguments["media_io_kwargs"] = media | {"video": media.get("video", {}) | {"num_frames": frames}}
    if pathways is not None:
        chosen = str(parse(pathways))
        overrides = arguments.get("hf_overrides", {})
        arguments["hf_overrides"] = overrides | {"sfllava": overrides.get("sfllava", {}) | {"pathways": chosen}}
    return arguments


def start(pretrained: str, arguments: dict[str, Any], processes: int):
    """The engine; of several processes each has the devices that are its own."""
    if processes > 1:
        # lmms-eval's own process group is in this process: the engine's goes into another.
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "1"
        _choose_devices(int(os.environ.get("LOCAL_RANK", 0)), devices_of(arguments))
    from sfllava_plugin.engine.offline.runner import Runner

    return Runner(pretrained, arguments)


def _choose_devices(local_rank: int, count: int) -> None:
    """Leave this process's engine its own accelerators, as many as it spreads over."""
    if not torch.cuda.is_available():
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(str(i) for i in range(torch.cuda.device_count()))
    own = visible.split(",")[local_rank * count : (local_rank + 1) * count]
    if len(own) < count:
        raise ValueError(f"process {local_rank} needs {count} accelerators of {visible}: start fewer processes")
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(own)


def agreed_time() -> datetime:
    """Now; of several processes, the first one's."""
    begun = [datetime.now()]
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.broadcast_object_list(begun)
    return begun[0]


def _value(value: Any) -> Any:
    """An engine argument: JSON where it is an object or a list."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        return json.loads(value)
    return value
