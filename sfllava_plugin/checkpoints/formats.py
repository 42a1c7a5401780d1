"""The two published formats of a checkpoint, and what both have in common.

``hf``: the llava-hf repositories, whose config.json describes the tower and the language model.
``original``: the repositories of the authors, whose config.json describes the language model alone.
"""

import json
from pathlib import Path
from typing import Any, Literal

from sfllava_plugin.checkpoints.prepared import CheckpointError

Format = Literal["hf", "original"]


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        CheckpointError: there is no such file, or it holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path.parent}: no readable {path.name}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not JSON") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: not a JSON object")
    return value


def architecture(config: dict[str, Any]) -> str:
    """Return the first architecture that config.json names, or "no architecture"."""
    named = config.get("architectures")
    return str(named[0]) if named and isinstance(named, list) else "no architecture"
