"""The JSON of a model directory: what is written, and what the checkpoint brings along. None of it names code.

Code is named by ``auto_map``: a class of the checkpoint's, or of another repository, that transformers would fetch and
run for those who trust it.
"""

import json
from pathlib import Path
from typing import Any

from sfllava_plugin.checkpoints import tokenizer

#: Files whose content a model directory has elsewhere: config.json describes images and videos, and the chat template
#: has a file of its own. params.json is the configuration of another format.
_REPLACED = {
    "chat_template.json",
    "params.json",
    "preprocessor_config.json",
    "processor_config.json",
    *tokenizer.NAMES,
}


def write(path: Path, value: dict[str, Any]) -> None:
    """Write ``value`` without the names of code in it."""
    path.write_text(json.dumps(_without_code(value), indent=2, default=str) + "\n", encoding="utf-8")


def link_others(folder: Path, out: Path) -> None:
    """Link what ``folder`` has and ``out`` has not: how the weights are quantised, and whatever else vLLM reads."""
    for path in sorted(folder.glob("*.json")):
        if path.name in _REPLACED or (out / path.name).exists() or not path.is_file():
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            names_code = _without_code(content) != content
        except (ValueError, RecursionError):
            continue  # nobody can read it
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
