"""Write or link the JSON files of a model directory, without names of code.

``auto_map`` names code: a class in the checkpoint or in another repository. transformers would fetch and run it for
users who set ``trust_remote_code``.
"""

import json
from pathlib import Path
from typing import Any

from sfllava_plugin.checkpoints import tokenizer

#: Files that a model directory replaces: config.json describes images and videos, and the chat template has its own
#: file. params.json is the configuration of another format.
_REPLACED = {
    "chat_template.json",
    "params.json",
    "preprocessor_config.json",
    "processor_config.json",
    *tokenizer.NAMES,
}


def write(path: Path, value: dict[str, Any]) -> None:
    """Write ``value`` as JSON, without names of code."""
    path.write_text(json.dumps(_without_code(value), indent=2, default=str) + "\n", encoding="utf-8")


def link_others(folder: Path, out: Path) -> None:
    """Link the JSON files which ``out`` lacks, such as those about quantisation."""
    for path in sorted(folder.glob("*.json")):
        if path.name in _REPLACED or (out / path.name).exists() or not path.is_file():
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            names_code = _without_code(content) != content
        except (ValueError, RecursionError):
            continue  # vLLM could not read it either
        if names_code:
            write(out / path.name, content)
        else:
            (out / path.name).symlink_to(path.absolute())


def _without_code(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_code(inner) for key, inner in value.items() if key != "auto_map"}
    if isinstance(value, list):
        return [_without_code(inner) for inner in value]
    return value
