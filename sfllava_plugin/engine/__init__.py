"""The half of the package that knows vLLM, and the plugin vLLM finds.

`register` is vLLM's entry point. vLLM calls it in every process, the command line, the API server, the engine core, the
workers, and more than once in some: it is idempotent, imports nothing heavy, and does nothing where vLLM is absent.
"""

from importlib.util import find_spec

from sfllava_plugin.model_directory import ARCHITECTURE

_MODEL = "sfllava_plugin.engine.model:SlowFastLlavaForConditionalGeneration"


def register() -> None:
    """Register all we have with vLLM (entry point group ``vllm.general_plugins``)."""
    if find_spec("vllm") is None:
        return
    from vllm import ModelRegistry

    from sfllava_plugin.engine import aliases, defaults, media, serving, video_loader

    if ARCHITECTURE not in ModelRegistry.get_supported_archs():
        ModelRegistry.register_model(ARCHITECTURE, _MODEL)
    video_loader.register()
    media.register()
    serving.register()
    defaults.register()
    aliases.register()
