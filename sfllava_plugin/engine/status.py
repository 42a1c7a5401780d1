"""Check the plugin's registration with vLLM, for `sfllava check`."""

from vllm import EngineArgs, ModelRegistry
from vllm.multimodal.video import get_video_loader_backend_for_processor
from vllm.plugins import load_general_plugins

from sfllava_plugin.checkpoints.prepared import ARCHITECTURE, VIDEO_PROCESSOR
from sfllava_plugin.engine.aliases import WRAPPED


def parts() -> dict[str, bool]:
    """Return each part by name, and whether vLLM has it."""
    load_general_plugins()  # type: ignore[no-untyped-call]  # vLLM leaves it untyped
    return {
        "model": ARCHITECTURE in ModelRegistry.get_supported_archs(),
        "video loader": get_video_loader_backend_for_processor(VIDEO_PROCESSOR) is not None,
        "aliases": hasattr(EngineArgs.create_engine_config, WRAPPED),
    }
