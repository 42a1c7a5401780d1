"""Describe everything that answers depend on, and hash it into short keys.

`sfllava batch` and the evaluation's journal find earlier answers by these keys: of model files, engine arguments,
package versions and videos. Importing this loads neither torch nor transformers.
"""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sfllava_plugin import registry
from sfllava_plugin.checkpoints.hub import checkpoint_folder, entry_of
from sfllava_plugin.checkpoints.prepared import is_prepared

#: Engine arguments that change the speed, not the answers.
_ABOUT_SPEED = {
    "async_scheduling",
    "compilation_config",
    "data_parallel_size",
    "disable_log_stats",
    "distributed_executor_backend",
    "enable_prefix_caching",
    "enforce_eager",
    "gpu_memory_utilization",
    "kv_cache_memory_bytes",
    "max_num_batched_tokens",
    "max_num_seqs",
    "mm_encoder_tp_mode",
    "pipeline_parallel_size",
    "tensor_parallel_size",
}
_PACKAGES = ("sfllava-plugin", "vllm", "torch", "transformers", "decord", "av", "Pillow")
#: Larger files are weights, identified by size and modification time.
_READ_WHOLE = 2**24


def key_of(what: Any) -> str:
    """Hash anything that JSON can hold into 32 hexadecimal digits."""
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:32]


def describe(folder: Path | None, engine_arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Describe everything that answers depend on, except video and prompt.

    Args:
        folder: a model directory or a checkpoint; None if its files are on other machines.
    """
    files = sorted(folder.iterdir()) if folder else []
    return {
        "model": {path.name: _identity(path) for path in files if path.is_file()},
        "engine": {name: value for name, value in sorted(engine_arguments.items()) if name not in _ABOUT_SPEED},
        "versions": versions(*_PACKAGES),
    }


def describe_model(model: str, engine_arguments: Mapping[str, Any], *, elsewhere: bool = False) -> dict[str, Any]:
    """Describe a model by its name, without preparing it.

    Args:
        model: an alias, a model directory, a checkpoint folder or a hub repository.
        elsewhere: the model runs on other machines: without a folder here, only its entry in the registry counts.

    Raises:
        CheckpointError, RegistryError: the model cannot be found.
    """
    if is_prepared(model) and registry.load().find(model) is None:
        return describe(Path(model), engine_arguments)
    entry = entry_of(model)
    is_here = not elsewhere or Path(entry.checkpoint).expanduser().is_dir()
    found = describe(checkpoint_folder(entry) if is_here else None, engine_arguments)
    return found | {"entry": entry.model_dump(mode="json", exclude={"name", "aliases"})}


def versions(*packages: str) -> dict[str, str]:
    """Return the installed version of each package, or ``absent``."""
    return {package: _version(package) for package in packages}


def video_identity(path: str) -> str:
    """Identify a video, or a folder's files, by path, size and time.

    Raises:
        OSError: there is no such file.
    """
    place = Path(path)
    parts = sorted(place.iterdir()) if place.is_dir() else [place]
    stats = [(part.name, (stat := part.stat()).st_size, stat.st_mtime_ns) for part in parts]
    return f"{place.absolute()} {stats}"


def _identity(path: Path) -> str:
    stat = path.stat()
    if stat.st_size > _READ_WHOLE:
        return f"{stat.st_size} bytes of {stat.st_mtime_ns}"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
