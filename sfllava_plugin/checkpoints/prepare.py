"""Write model directories: what vLLM needs to load a checkpoint as it is.

A model directory holds the configuration with our architecture and the key ``sfllava``, the chat template with the
paper's prompts, a file that names our video loader, greedy generation defaults, and links to the untouched weights and
tokenizer; weights with adapters among them are merged instead (adapters.py). It is written under a temporary name and
renamed, so preparing twice, or in two processes at once, is safe.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from sfllava_plugin import prompts, registry
from sfllava_plugin.checkpoints import adapters, families, json_files, room, rope, vocabulary, weights
from sfllava_plugin.checkpoints import tokenizer as tokenizer_files
from sfllava_plugin.checkpoints.aside import aside, remove_leftovers
from sfllava_plugin.checkpoints.families.family import Family
from sfllava_plugin.checkpoints.formats import Format, read_json
from sfllava_plugin.checkpoints.hub import checkpoint_folder, entry_of
from sfllava_plugin.checkpoints.prepared import (
    ARCHITECTURE,
    CHAT_TEMPLATE,
    MANIFEST,
    POSITIONS,
    VIDEO_PROCESSOR,
    CheckpointError,
    is_prepared,
)
from sfllava_plugin.checkpoints.settings import settle
from sfllava_plugin.checkpoints.video_config import KEY, VideoConfig
from sfllava_plugin.registry import Entry

_CACHE_VARIABLE = "SFLLAVA_CACHE"
_TURN_ENDS = ("<|im_end|>", "<|eot_id|>")


@dataclass(frozen=True)
class _Source:
    """A checkpoint on disk, and the settings it is prepared with."""

    entry: Entry
    folder: Path
    family: Family
    format: Format


def model_directory(model: str) -> Path:
    """Find or write the model directory of a model.

    Args:
        model: a name in the registry, a model directory, a checkpoint folder or a hub repository.

    Raises:
        CheckpointError, RegistryError: it is none of these, or cannot be prepared.
    """
    if is_prepared(model) and registry.load().find(model) is None:
        return Path(model)
    return prepare(entry_of(model))


def prepare(entry: Entry, out: str | os.PathLike[str] | None = None) -> Path:
    """Write the model directory of ``entry``, or find an existing one.

    Args:
        entry: the checkpoint and its settings.
        out: where; by default in the user's cache, under a name that changes with its content.

    Raises:
        CheckpointError: the checkpoint is neither on disk nor reachable, or belongs to no supported family.
    """
    folder = checkpoint_folder(entry)
    if is_prepared(folder):
        raise CheckpointError(f"{folder}: is a model directory already; name the checkpoint it was made from")
    source = _Source(entry, folder, *families.find(folder, entry.format))
    directory = Path(out) if out else cache_folder() / f"{_short_name(entry)}-{_digest(source)}"
    remove_leftovers(directory.parent)
    if out is None and is_prepared(directory) and _links_hold(directory):
        return directory
    if directory.exists() and not is_prepared(directory) and any(directory.iterdir()):
        raise CheckpointError(f"{directory}: holds other files; choose an empty or a new folder")
    try:
        with aside(directory) as written:
            _write(source, written)
            _put_in_place(written, directory, replace=out is not None)
    except OSError as error:
        remedy = "choose another folder" if out else f"set {_CACHE_VARIABLE} to another folder"
        raise CheckpointError(f"{directory}: cannot be written: {error.strerror}; {remedy}") from error
    return directory


def cache_folder() -> Path:
    """Return the folder of model directories: under SFLLAVA_CACHE, or in the user's cache."""
    return Path(os.environ.get(_CACHE_VARIABLE) or user_cache_path("sfllava")).expanduser() / "models"


def _write(source: _Source, out: Path) -> None:
    entry, folder = source.entry, source.folder
    tokenizer_files.write(folder, out)
    tokenizer = tokenizer_files.load(out)
    vocab = tokenizer.get_vocab()
    config = source.family.read_config(folder, source.format, vocab[prompts.VIDEO_MARKER])
    text = config.get_text_config()
    settings = settle(entry, source.family.settings(read_json(folder / "config.json")), source.family.name)
    files = rope.fields(text)
    source.family.stretch(text, source.format)
    own = rope.fields(text)
    text.update(positions := rope.chosen(settings.rope, own, files))
    video = VideoConfig(
        frames=settings.frames,
        pathways=settings.pathways,
        native=settings.native,
        newline=settings.newline,
        order=settings.order,
        pool=settings.pool,
        sampling=settings.sampling,
        fit=settings.fit,
        time_instruction=settings.time_instruction,
        max_tiles=entry.max_tiles,
        pictures=source.family.pictures(source.format, config),
        geometry=source.family.geometry(folder, source.format, config),
        weights=families.extra_weights(folder),
        trained_vocab_size=vocabulary.extend(text, folder, max(vocab.values())),
    )
    context = rope.context(settings.max_model_len, positions)
    video.check()
    if problem := room.shortage(video, video.frames, context, lambda: tokenizer):
        raise CheckpointError(f"{entry.name}: {problem}: use fewer frames or a coarser pathway")
    family = entry.prompts or source.family.prompts(config, tokenizer)
    template = prompts.chat_template(
        family,
        special_tokens=tokenizer_files.special_tokens(tokenizer),
        bos_token=tokenizer_files.leading_token(tokenizer),
        own_template=_own_template(folder),
    )
    described = config.to_dict() | {"architectures": [ARCHITECTURE], KEY: video.model_dump(mode="json")}
    json_files.write(out / "config.json", described)
    json_files.write(out / "generation_config.json", _generation(folder, text, tokenizer))
    json_files.write(out / "video_preprocessor_config.json", {"video_processor_type": VIDEO_PROCESSOR})
    (out / CHAT_TEMPLATE).write_text(template, encoding="utf-8")
    if settings.lora_alpha is None:
        weights.link(folder, out)
    elif not adapters.merge(folder, out, settings.lora_alpha) and entry.lora_alpha is not None:
        raise CheckpointError(f"{entry.name}: lora_alpha weighs adapters, and {folder} has none: leave it out")
    json_files.link_others(folder, out)
    asked = entry.engine.get("max_model_len", settings.max_model_len)
    # Last: with it the folder counts as complete.
    json_files.write(
        out / MANIFEST,
        {
            "name": entry.name,
            "checkpoint": entry.checkpoint,
            "revision": entry.revision,
            "format": source.format,
            "prompts": family,
            "engine": {"max_model_len": context} | entry.engine,
            # For an override of `rope` (engine/rope_override.py).
            POSITIONS: {"checkpoint": own, "files": files, "asked": asked},
        },
    )


def _own_template(folder: Path) -> str | None:
    """Read the checkpoint's own chat template from whichever file holds it."""
    if (path := folder / "chat_template.jinja").exists():
        return path.read_text(encoding="utf-8")
    for name in ("chat_template.json", "processor_config.json", "tokenizer_config.json"):
        if (folder / name).exists():
            template = read_json(folder / name).get("chat_template")
            if isinstance(template, str):
                return template
    return None


def _generation(folder: Path, text: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Decode greedily, as in the paper's evaluation, until the text or the assistant's turn ends."""
    path = folder / "generation_config.json"
    own = read_json(path) if path.exists() else {}
    ends = own.get("eos_token_id", text.eos_token_id)
    ends = ends if isinstance(ends, list) else [ends, tokenizer.eos_token_id]
    vocabulary = tokenizer.get_vocab()
    ends = [*ends, *(vocabulary[token] for token in _TURN_ENDS if token in vocabulary)]
    return {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": sorted({end for end in ends if end is not None}),
        "pad_token_id": tokenizer.pad_token_id,
        "do_sample": False,
        "temperature": 0.0,
    }


def _short_name(entry: Entry) -> str:
    name = Path(entry.name).name or "model"
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)


def _digest(source: _Source) -> str:
    """Hash everything that determines the content of a model directory."""
    files = sorted(path for path in source.folder.iterdir() if path.is_file())
    parts = [
        source.entry.model_dump_json(),
        str(source.folder),
        *(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files),
    ]
    digest = hashlib.sha256("\n".join(parts).encode())
    for path in sorted(_own_files()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _own_files() -> list[Path]:
    """List the code and templates behind a model directory: another release writes another one."""
    package = Path(__file__).parent.parent
    rooms = ("checkpoints", "prompts", "tokens")
    return [path for room in rooms for path in (package / room).rglob("*") if path.suffix in (".py", ".jinja")]


def _links_hold(directory: Path) -> bool:
    return all(path.exists() for path in directory.iterdir())


def _put_in_place(written: Path, directory: Path, replace: bool) -> None:
    """Rename ``written`` to ``directory``; another process may have written the same first."""
    try:
        written.rename(directory)
    except OSError:
        if not replace and is_prepared(directory) and _links_hold(directory):
            return
        with aside(directory) as retired:
            directory.rename(retired / "old")
            written.rename(directory)
