"""The vLLM plugin: the only part of the package which imports vLLM.

`register` is the entry point. vLLM calls it in every process of every model (command line, API server, engine core,
workers), in some more than once. So it is idempotent, imports nothing heavy, reads no files, and does nothing without
vLLM. It warns instead of raising, since an exception would stop models that are not ours.
"""

import logging
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec

from sfllava_plugin.checkpoints.prepared import ARCHITECTURE

logger = logging.getLogger(__name__)

_MODEL = "sfllava_plugin.engine.model.llava:SlowFastLlavaForConditionalGeneration"
#: Modules with a `register` function.
_PARTS = ("serving.video_loader", "serving.connector", "config_hook", "aliases")


def register() -> None:
    """Register the model and every part with vLLM (entry point group ``vllm.general_plugins``)."""
    if find_spec("vllm") is None:
        return
    _try("model", _register_model)
    for part in _PARTS:
        _try(part, partial(_register_part, part))


def _register_model() -> None:
    from vllm import ModelRegistry

    if ARCHITECTURE not in ModelRegistry.get_supported_archs():
        ModelRegistry.register_model(ARCHITECTURE, _MODEL)


def _register_part(part: str) -> None:
    import_module(f"{__name__}.{part}").register()


def _try(part: str, register_part: Callable[[], None]) -> None:
    try:
        register_part()
    except Exception as error:  # an untested version of vLLM may raise anything
        problem = f"{type(error).__name__}: {error}"
        logger.warning(
            "sfllava_plugin: %s is not registered with this version of vLLM (%s): run sfllava check", part, problem
        )
