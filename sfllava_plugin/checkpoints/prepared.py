"""What a model directory is, for those who write it (prepare.py) and those who read it (engine/).

Light on purpose: vLLM loads the plugin, and this, in every one of its processes.
"""

import json
import os
from pathlib import Path
from typing import Any

#: Our architecture's name in config.json.
ARCHITECTURE = "SlowFastLlavaForConditionalGeneration"
#: What video_preprocessor_config.json says, and our vLLM video loader is registered for.
VIDEO_PROCESSOR = "SlowFastLlavaVideoProcessor"
#: The file that makes a folder a model directory: where it came from, and defaults for the engine.
MANIFEST = "sfllava.json"
#: The chat template with the prompt frames.
CHAT_TEMPLATE = "chat_template.jinja"


class CheckpointError(ValueError):
    """A checkpoint that cannot be found, or is not LLaVA-NeXT shaped."""


def is_prepared(folder: str | os.PathLike) -> bool:
    """Whether ``folder`` is a model directory."""
    return (Path(folder) / MANIFEST).is_file()


def engine_defaults(folder: str | os.PathLike) -> dict[str, Any]:
    """The engine arguments that a model directory brings, for those the user leaves unset."""
    return json.loads((Path(folder) / MANIFEST).read_text(encoding="utf-8"))["engine"]
