"""SlowFast-LLaVA, the training-free video LLM, for vLLM and lmms-eval.

The public names load on first use: importing the package takes ten milliseconds and needs neither torch nor vLLM, since
vLLM imports its plugins in each of its processes.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sfllava_plugin.api import Model, load
    from sfllava_plugin.checkpoints.prepared import CheckpointError
    from sfllava_plugin.engine.offline.questions import Answer, Failure, Question, Score
    from sfllava_plugin.errors import EngineDied, EngineStartError
    from sfllava_plugin.prompts.template import PromptError
    from sfllava_plugin.registry import RegistryError
    from sfllava_plugin.tokens.layout import parse, video_tokens
    from sfllava_plugin.tokens.notation import PathwayError
    from sfllava_plugin.video.errors import DecoderFault, VideoError
    from sfllava_plugin.video.frames import Video
    from sfllava_plugin.video.isolated import read_video
    from sfllava_plugin.video.sampling import sample_indices

    __version__: str

#: The modules that define the public names.
_HOMES = {
    "api": ("Model", "load"),
    "checkpoints.prepared": ("CheckpointError",),
    "engine.offline.questions": ("Answer", "Failure", "Question", "Score"),
    "errors": ("EngineDied", "EngineStartError"),
    "prompts.template": ("PromptError",),
    "registry": ("RegistryError",),
    "tokens.layout": ("parse", "video_tokens"),
    "tokens.notation": ("PathwayError",),
    "video.errors": ("DecoderFault", "VideoError"),
    "video.frames": ("Video",),
    "video.isolated": ("read_video",),
    "video.sampling": ("sample_indices",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Answer",
    "CheckpointError",
    "DecoderFault",
    "EngineDied",
    "EngineStartError",
    "Failure",
    "Model",
    "PathwayError",
    "PromptError",
    "Question",
    "RegistryError",
    "Score",
    "Video",
    "VideoError",
    "__version__",
    "load",
    "parse",
    "read_video",
    "sample_indices",
    "video_tokens",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value = version("sfllava-plugin")
    elif name in _HOME_OF:
        value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
