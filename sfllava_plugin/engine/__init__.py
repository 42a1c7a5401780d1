"""The half of the package that knows vLLM, and the plugin vLLM finds.

`register` is vLLM's entry point. vLLM calls it in every process of every model, the command line, the API server, the
engine core, the workers, and more than once in some: it is idempotent, imports nothing heavy, reads no file, and does
nothing where vLLM is absent. What fails in it would stop models that are not ours, so it warns instead.
"""

import logging
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

from sfllava_plugin.checkpoints.prepared import ARCHITECTURE

logger = logging.getLogger(__name__)

_MODEL = "sfllava_plugin.engine.model.llava:SlowFastLlavaForConditionalGeneration"
#: Modules with a `register` of their own.
_PARTS = ("serving.video_loader", "serving.connector", "config_hook", "aliases")


def register() -> None:
    """Register all we have with vLLM (entry point group ``vllm.general_plugins``)."""
    if find_spec("vllm") is None:
        return
    _try("model", _register_model)
    for part in _PARTS:
        _try(part, lambda part=part: import_module(f"{__name__}.{part}").register())


def _register_model() -> None:
    from vllm import ModelRegistry

    if ARCHITECTURE not in ModelRegistry.get_supported_archs():
        ModelRegistry.register_model(ARCHITECTURE, _MODEL)


def _try(part: str, register_part: Callable[[], None]) -> None:
    try:
        register_part()
    except Exception as error:  # whatever an unknown vLLM raises
        problem = f"{type(error).__name__}: {error}"
        logger.warning("sfllava_plugin: %s is not registered with this vLLM (%s): see sfllava check", part, problem)
