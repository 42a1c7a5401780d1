"""What a run's answers depend on: model files, settings and versions; for the journal, and for whoever reads a number.

It does not know tasks.
"""

import hashlib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

#: Engine arguments that change how fast answers come, not what they are.
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
_PACKAGES = ("sfllava-plugin", "vllm", "lmms-eval", "torch", "transformers", "decord", "av", "Pillow")
#: Larger files are weights: they are known by size and age.
_READ_WHOLE = 2**24


def describe(directory: Path, engine_arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the answers of a run depend on, beside video and prompt.

    Args:
        directory: the model's.
    """
    return {
        "model": {path.name: _identity(path) for path in sorted(directory.iterdir()) if path.is_file()},
        "engine": {name: value for name, value in sorted(engine_arguments.items()) if name not in _ABOUT_SPEED},
        "versions": {package: _version(package) for package in _PACKAGES},
    }


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
