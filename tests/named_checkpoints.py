"""A random checkpoint in the place of each one that the registry names.

Each has the family, file format, language model and grid of the real one, and small widths. Names whose checkpoints
differ only in size share one.
"""

import json
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from examples.random_checkpoint import write_checkpoint
from sfllava_plugin import registry
from sfllava_plugin.registry import Entry
from tests.reference_family import checkpoints, pllava

#: Engine arguments for many engines beside each other: exact, quick to start, with a cache for 32,768 tokens.
ENGINE = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": 64 * 2**20}

#: One name of each family, and both file formats.
FEW = (
    "sf-llava-7b-original",
    "sf-onevision-0.5b",
    "sf-llava-video-7b",
    "llava-next-video-7b",
    "llava-1.5-7b",
    "pllava-34b",
)

_next = write_checkpoint
_kind = checkpoints.write
#: As the 7B's config.json on the hub.
_SCALED = {"text_config": {"rope_scaling": {"factor": 2.5, "type": "linear"}}}

#: The writer of each repository, by a regular expression over its whole name.
WRITERS: dict[str, Callable[[Path], Path]] = {
    r"llava-hf/llava-v1\.6-vicuna-.*": _next,
    r"liuhaotian/llava-v1\.6-vicuna-.*": partial(_next, layout="original"),
    r"llava-hf/llava-v1\.6-34b-hf": partial(_next, family="yi"),
    r"liuhaotian/llava-v1\.6-34b": partial(_next, family="yi", layout="original"),
    r"llava-hf/llava-v1\.6-mistral-7b-hf": partial(_next, family="mistral"),
    r"llava-hf/llama3-llava-next-8b-hf": partial(_next, family="llama3"),
    r"llava-hf/llava-onevision-qwen2-0\.5b-.*": partial(_kind, kind="onevision", tied=True),
    r"llava-hf/llava-onevision-qwen2-.*": partial(_kind, kind="onevision"),
    r"lmms-lab/llava-onevision-qwen2-0\.5b-.*": partial(_kind, kind="onevision-original", tied=True),
    r"lmms-lab/llava-onevision-qwen2-.*": partial(_kind, kind="onevision-original"),
    r"lmms-lab/LLaVA-Video-.*-Qwen2": partial(_kind, kind="llava-video"),
    r"llava-hf/LLaVA-NeXT-Video-7B-.*": partial(_kind, kind="next-video", changes=_SCALED),
    r"llava-hf/LLaVA-NeXT-Video-34B-.*": partial(_kind, kind="next-video", family="yi"),
    r"lmms-lab/LLaVA-NeXT-Video-7B.*": partial(_kind, kind="next-video-original"),
    r"lmms-lab/LLaVA-NeXT-Video-34B.*": partial(_kind, kind="next-video-original", family="yi"),
    r"llava-hf/llava-1\.5-.*": partial(_kind, kind="llava-1.5"),
    r"ermu2001/pllava-7b": partial(pllava.write, architecture="PlavaForConditionalGeneration"),
    r"ermu2001/pllava-13b": pllava.write,
    r"ermu2001/pllava-34b": partial(pllava.write, family="yi"),
}


def marked(names: Iterable[str]) -> list[Any]:
    """Mark the names outside the few, which only `make names` runs."""
    return [name if name in FEW else pytest.param(name, marks=pytest.mark.names) for name in names]


def entries() -> dict[str, Entry]:
    """Return the packaged entries by name."""
    return {entry.name: entry for entry in registry.packaged()}


def pattern_of(entry: Entry) -> str | None:
    """Find the repository's pattern; None for a checkpoint that the package has.

    Raises:
        ValueError: no writer makes its like.
    """
    if Path(entry.checkpoint).is_dir():
        return None
    for pattern in WRITERS:
        if re.fullmatch(pattern, entry.checkpoint):
            return pattern
    raise ValueError(f"{entry.name}: no random checkpoint is like {entry.checkpoint}: add a writer to WRITERS")


def pairs() -> list[tuple[str, str]]:
    """List the names of the same weights in both formats.

    LLaVA-NeXT-Video 7B is left out: its hf file scales positions by 2.5, its program by 2.
    """
    names = [name for name in entries() if not name.startswith("llava-next-video-7b")]
    return [(name, f"{name}-original") for name in names if f"{name}-original" in names]


class NamedCheckpoints:
    """Write random checkpoints below ``folder``, each once, when a name needs it."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._written: dict[str, Path] = {}

    def entry(self, name: str) -> Entry:
        """Return the packaged entry with a random checkpoint, all other settings its own."""
        entry = entries()[name]
        if (pattern := pattern_of(entry)) is None:
            return entry
        if pattern not in self._written:
            folder = self._folder / str(len(self._written))
            self._written[pattern] = WRITERS[pattern](folder)
        engine = ENGINE | entry.engine
        return entry.model_copy(update={"checkpoint": str(self._written[pattern]), "engine": engine})

    def registry(self, names: list[str]) -> Path:
        """Write a registry file with these names, for SFLLAVA_REGISTRY."""
        models = {name: self.entry(name).model_dump(mode="json", exclude_defaults=True) for name in names}
        for settings in models.values():
            del settings["name"]
        path = self._folder / "registry.yaml"
        path.write_text(json.dumps({"models": models}, indent=2), encoding="utf-8")
        return path
