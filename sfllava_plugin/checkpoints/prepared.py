"""The names in a model directory, shared by prepare.py, which writes it, and engine/, which reads it.

Imports nothing heavy: vLLM loads the plugin, and with it this module, in each of its processes.
"""

import json
import os
from pathlib import Path
from typing import Any

#: Our architecture's name in config.json.
ARCHITECTURE = "SlowFastLlavaForConditionalGeneration"
#: Named in video_preprocessor_config.json; our vLLM video loader is registered for it.
VIDEO_PROCESSOR = "SlowFastLlavaVideoProcessor"
#: The file that marks a model directory. It holds the origin, and defaults for the engine.
MANIFEST = "sfllava.json"
#: The key of that file for the positions of the checkpoint (checkpoints/rope.py).
POSITIONS = "positions"
#: The chat template with the paper's prompts.
CHAT_TEMPLATE = "chat_template.jinja"


class CheckpointError(ValueError):
    """A checkpoint that cannot be found, read or supported."""


def is_prepared(folder: str | os.PathLike[str]) -> bool:
    """Tell whether ``folder`` is a model directory."""
    return (Path(folder) / MANIFEST).is_file()


def manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the manifest of a model directory."""
    found: dict[str, Any] = json.loads((Path(folder) / MANIFEST).read_text(encoding="utf-8"))
    return found


def engine_defaults(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a model directory's defaults for engine arguments that the user leaves unset."""
    engine: dict[str, Any] = manifest(folder)["engine"]
    return engine
