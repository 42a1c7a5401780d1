"""Count the accelerators of an engine, before vLLM or torch is loaded."""

from collections.abc import Mapping
from math import prod
from typing import Any

#: vLLM's engine arguments that spread one engine over several accelerators (vllm/config/parallel.py).
_SPREADING = ("tensor_parallel_size", "pipeline_parallel_size", "prefill_context_parallel_size")


def devices_of(engine_arguments: Mapping[str, Any]) -> int:
    """Return the number of accelerators that one engine with these arguments takes."""
    return prod(int(engine_arguments.get(name) or 1) for name in _SPREADING)
